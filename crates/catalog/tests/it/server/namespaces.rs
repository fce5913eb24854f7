//! Namespaces.

use serde_json::{Value, json};

use super::{Answer, Server};

pub async fn suite(server: &Server) {
    create_load_and_drop(server).await;
    nested(server).await;
    properties(server).await;
    pages(server).await;
    names(server).await;
}

/// Engines that choose the folders of tables themselves do so below the namespace's, so that it is told
/// whether it was set or not.
fn without_location(mut answer: Answer) -> Answer {
    let name = answer.body["namespace"][0].as_str().unwrap().to_string();
    let properties = answer.body["properties"].as_object_mut().unwrap();
    let location = properties.remove("location").unwrap();
    let location = location.as_str().unwrap();
    assert!(location.ends_with(&format!("/{name}")), "{location}");
    answer
}

async fn create_load_and_drop(server: &Server) {
    let body = json!({"namespace": ["ns"], "properties": {"owner": "ann"}});
    let answer = server.post("/v1/namespaces", body.clone()).await;
    assert_eq!((answer.status.as_u16(), &answer.body), (200, &body));
    let again = server.post("/v1/namespaces", body.clone()).await;
    again.is_error(409, "AlreadyExistsException");

    let answer = without_location(server.get("/v1/namespaces/ns").await);
    assert_eq!((answer.status.as_u16(), &answer.body), (200, &body));
    assert_eq!(server.head("/v1/namespaces/ns").await, 204);

    server.table("ns", "t").await;
    let full = server.delete("/v1/namespaces/ns").await;
    full.is_error(409, "NamespaceNotEmptyException");
    assert_eq!(
        server.delete("/v1/namespaces/ns/tables/t").await.status,
        204
    );
    let answer = server.delete("/v1/namespaces/ns").await;
    assert_eq!((answer.status.as_u16(), &answer.body), (204, &Value::Null));

    assert_eq!(server.head("/v1/namespaces/ns").await, 404);
    for answer in [
        server.get("/v1/namespaces/ns").await,
        server.delete("/v1/namespaces/ns").await,
        server.get("/v1/namespaces/ns/tables").await,
        server.get("/v1/namespaces?parent=ns").await,
        server
            .post(
                "/v1/namespaces/ns/properties",
                json!({"updates": {"a": "b"}}),
            )
            .await,
        server
            .post("/v1/namespaces/ns/tables", super::new_table("t"))
            .await,
    ] {
        answer.is_error(404, "NoSuchNamespaceException");
    }
}

async fn nested(server: &Server) {
    for levels in [&["a"][..], &["a", "b"], &["a", "b", "c"], &["a", "d"]] {
        server.namespace(levels).await;
    }
    let answer = server.get("/v1/namespaces").await;
    assert_eq!(answer.body["namespaces"], json!([["a"]]));
    assert_eq!(answer.body["next-page-token"], Value::Null);
    let answer = server.get("/v1/namespaces?parent=").await;
    assert_eq!(answer.body["namespaces"], json!([["a"]]));
    let answer = server.get("/v1/namespaces?parent=a").await;
    assert_eq!(answer.body["namespaces"], json!([["a", "b"], ["a", "d"]]));
    let answer = server.get("/v1/namespaces?parent=a%1Fb").await;
    assert_eq!(answer.body["namespaces"], json!([["a", "b", "c"]]));
    let answer = server.get("/v1/namespaces/a%1Fb").await;
    assert_eq!(answer.body["namespace"], json!(["a", "b"]));

    server.table("a%1Fb", "t").await;
    let answer = server.get("/v1/namespaces/a%1Fb/tables").await;
    assert_eq!(
        answer.body["identifiers"],
        json!([{"namespace": ["a", "b"], "name": "t"}])
    );
    server.delete("/v1/namespaces/a%1Fb/tables/t").await;
    for path in ["a%1Fb%1Fc", "a%1Fb", "a%1Fd", "a"] {
        let answer = server.delete(&format!("/v1/namespaces/{path}")).await;
        assert_eq!(answer.status, 204, "{path}: {answer:?}");
    }
}

async fn properties(server: &Server) {
    server.namespace(&["props"]).await;
    let change = |body| server.post("/v1/namespaces/props/properties", body);
    let answer = change(json!({"updates": {"a": "1", "b": "2"}, "removals": null})).await;
    assert_eq!(
        answer.body,
        json!({"updated": ["a", "b"], "removed": [], "missing": []})
    );
    let answer = change(json!({"updates": {"b": "3"}, "removals": ["a", "x", "x"]})).await;
    assert_eq!(
        answer.body,
        json!({"updated": ["b"], "removed": ["a"], "missing": ["x"]})
    );
    let answer = without_location(server.get("/v1/namespaces/props").await);
    assert_eq!(answer.body["properties"], json!({"b": "3"}));
    let both = change(json!({"updates": {"b": "1"}, "removals": ["b"]})).await;
    both.is_error(422, "UnprocessableEntityException");
    server.delete("/v1/namespaces/props").await;
}

async fn pages(server: &Server) {
    let mut expected = Vec::new();
    for n in 0..5 {
        let name = format!("page{n}");
        server.namespace(&[&name]).await;
        expected.push(json!([name]));
    }
    let (mut token, mut found, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let path = format!("/v1/namespaces?pageSize=2&pageToken={token}");
        let answer = server.get(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let page = answer.body["namespaces"].as_array().unwrap().clone();
        assert!(page.len() <= 2);
        found.extend(page);
        pages += 1;
        match answer.body["next-page-token"].as_str() {
            Some(next) => token = next.to_string(),
            None => break,
        }
    }
    assert_eq!((found, pages), (expected.clone(), 3));
    // Without a token there are no pages.
    let all = server.get("/v1/namespaces?pageSize=2").await;
    assert_eq!(all.body["namespaces"], json!(expected));
    for query in [
        "pageToken=&pageSize=0",
        "pageToken=!!",
        "pageToken=&pageSize=x",
    ] {
        let answer = server.get(&format!("/v1/namespaces?{query}")).await;
        answer.is_error(400, "BadRequestException");
    }
    for n in 0..5 {
        server.delete(&format!("/v1/namespaces/page{n}")).await;
    }
}

async fn names(server: &Server) {
    // A plus in a path is a space, as Java's client writes it; one of the name is escaped.
    for (name, path) in [
        ("a b", "a+b"),
        ("a b2", "a%20b2"),
        ("c+d", "c%2Bd"),
        ("ä%1", "%C3%A4%251"),
    ] {
        server.namespace(&[name]).await;
        let answer = server.get(&format!("/v1/namespaces/{path}")).await;
        assert_eq!(answer.body["namespace"], json!([name]), "{answer:?}");
        assert_eq!(
            server
                .delete(&format!("/v1/namespaces/{path}"))
                .await
                .status,
            204
        );
    }
    for wrong in [
        json!([]),
        json!([""]),
        json!(["a", ""]),
        json!(["a/b"]),
        json!([".."]),
        json!(["a\u{1f}b"]),
    ] {
        let answer = server
            .post("/v1/namespaces", json!({"namespace": wrong}))
            .await;
        answer.is_error(400, "BadRequestException");
    }
}

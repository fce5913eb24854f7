use std::time::Duration;

use berglake_ingest::kafka::KafkaConnection;

use super::*;

fn load_with(text: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE_NAME), text).unwrap();
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect()
    };
    Config::load_with(folder.path(), owned(environment), owned(flags))
}

fn load(text: &str) -> Result<Config> {
    load_with(text, &[], &[])
}

fn context<'a>(error: &'a Error, key: &str) -> &'a str {
    let found = error.context().iter().find(|(name, _)| *name == key);
    found.map_or("", |(_, value)| value.as_str())
}

#[test]
fn an_empty_file_has_all_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("films");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join(FILE_NAME), "").unwrap();
    let config = Config::load(&root, []).unwrap();
    assert_eq!(config.name, "films");
    assert_eq!(config.pipelines, "pipelines");
    assert_eq!(config.catalog_name, "berglake");
    assert_eq!(
        config.catalog_file(),
        Some(root.join(".berglake/catalog.db"))
    );
    assert_eq!(
        Path::new(&config.warehouse),
        root.join(".berglake/warehouse")
    );
    assert_eq!(config.storage, StorageConfig::default());
    assert!(config.defaults.is_empty() && config.layers.is_empty());
}

#[test]
fn every_key_is_read() {
    let config = load(
        r#"
        [project]
        name = "movies"
        pipelines = "sql"
        [catalog]
        uri = "postgres://u:p@h/db"
        name = "lake"
        [storage]
        warehouse = "s3a://bucket//prefix/"
        [storage.s3]
        endpoint = "http://localhost:9000"
        region = "eu"
        access-key-id = "id"
        secret-access-key = "secret"
        path-style = true
        allow-http = true
        [defaults]
        write.target-file-size-bytes = "128MiB"
        "write.parquet.compression-codec" = "snappy"
        format-version = 2
        [layers.gold]
        gc.enabled = false
        [variables]
        data = "data"
        year = 2010
        [connections.drop]
        kind = "files"
        path = "../deliveries"
        [connections.main]
        kind = "kafka"
        bootstrap-servers = "a:9092,b:9092"
        security-protocol = "SASL_PLAINTEXT"
        sasl-mechanism = "PLAIN"
        sasl-username = "me"
        sasl-password = "pass"
        timeout = "5s"
        [connections.main.options]
        fetch.wait.max.ms = 7
        "socket.keepalive.enable" = true
        "#,
    )
    .unwrap();
    assert_eq!(config.name, "movies");
    assert_eq!(config.pipelines, "sql");
    assert_eq!(config.catalog_uri.reveal(), "postgres://u:p@h/db");
    assert_eq!(config.catalog_file(), None);
    assert_eq!(config.catalog_name, "lake");
    assert_eq!(config.warehouse, "s3://bucket/prefix");
    let s3 = &config.storage.s3;
    assert_eq!(s3.endpoint.as_deref(), Some("http://localhost:9000"));
    assert_eq!(s3.region.as_deref(), Some("eu"));
    assert_eq!(s3.access_key_id.as_ref().unwrap().reveal(), "id");
    assert_eq!(s3.secret_access_key.as_ref().unwrap().reveal(), "secret");
    assert!(s3.path_style && s3.allow_http);
    assert_eq!(config.defaults["write.target-file-size-bytes"], "134217728");
    assert_eq!(config.defaults["write.parquet.compression-codec"], "snappy");
    assert_eq!(config.defaults["format-version"], "2");
    assert_eq!(config.layers["gold"]["gc.enabled"], "false");
    assert_eq!(config.variables["year"], "2010");
    let Connection::Files(drop) = &config.connections["drop"] else {
        panic!()
    };
    assert!(drop.path.ends_with("/deliveries"));
    assert!(!drop.path.contains(".."));
    let expected = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "me"),
        ("sasl.password", "pass"),
        ("fetch.wait.max.ms", "7"),
        ("socket.keepalive.enable", "true"),
    ]
    .into_iter()
    .try_fold(
        KafkaConnection::new("a:9092,b:9092").unwrap(),
        |connection, (name, value)| connection.with_option(name, value.to_owned()),
    );
    let expected = expected.unwrap().with_timeout(Duration::from_secs(5));
    assert_eq!(config.connections["main"], Connection::Kafka(expected));
}

#[test]
fn a_connection_comes_from_the_environment_alone_and_hides_its_secrets() {
    let variables = [
        ("BERGLAKE_CONNECTIONS__MAIN__KIND", "kafka"),
        (
            "BERGLAKE_CONNECTIONS__MAIN__BOOTSTRAP_SERVERS",
            "kafka:9092",
        ),
        ("BERGLAKE_CONNECTIONS__MAIN__SASL_PASSWORD", "hunter2"),
        (
            "BERGLAKE_CONNECTIONS__MAIN__OPTIONS__SSL_KEY_PASSWORD",
            "hunter3",
        ),
        (
            "BERGLAKE_CONNECTIONS__MAIN__OPTIONS__FETCH_WAIT_MAX_MS",
            "7",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE_NAME), "").unwrap();
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::load(folder.path(), variables).unwrap();
    let expected = [
        ("sasl.password", "hunter2"),
        ("ssl.key.password", "hunter3"),
        ("fetch.wait.max.ms", "7"),
    ]
    .into_iter()
    .try_fold(
        KafkaConnection::new("kafka:9092").unwrap(),
        |connection, (name, value)| connection.with_option(name, value.to_owned()),
    );
    assert_eq!(
        config.connections["main"],
        Connection::Kafka(expected.unwrap())
    );
    let shown = format!("{}{config:?}{:?}", config.to_toml(true), config.settings());
    assert!(!shown.contains("hunter"), "{shown}");
    assert!(shown.contains("fetch.wait.max.ms"), "{shown}");
}

#[test]
fn a_rest_catalog_is_named_by_its_address() {
    let config = load_with(
        "[catalog]\nuri = \"http://host:8181\"\nwarehouse = \"lake\"",
        &[("BERGLAKE_CATALOG__TOKEN", "hunter2")],
        &[("catalog.prefix", "p")],
    )
    .unwrap();
    assert!(config.is_rest_catalog());
    assert_eq!(config.catalog_file(), None);
    assert_eq!(config.rest.warehouse.as_deref(), Some("lake"));
    assert_eq!(config.rest.prefix.as_deref(), Some("p"));
    assert_eq!(config.rest.token.as_ref().unwrap().reveal(), "hunter2");
    let shown = config.to_toml(true);
    assert!(shown.contains("token = \"***\""), "{shown}");
    assert!(!shown.contains("hunter2") && !format!("{config:?}").contains("hunter2"));
    assert!(!load("").unwrap().is_rest_catalog());

    for wrong in ["http:", "http://ann:hunter2@host:8181"] {
        let error = load(&format!("[catalog]\nuri = \"{wrong}\"")).unwrap_err();
        assert_eq!(context(&error, "key"), "catalog.uri", "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn the_roles_have_defaults_and_units() {
    let config = load("").unwrap();
    assert_eq!(config.query.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.catalog_server.listen.port(), 8181);
    assert!(config.query.read_only && config.query.server.tokens.is_empty());
    assert_eq!(config.query.memory, 1 << 30);
    assert_eq!(config.services.gold.interval, Duration::from_secs(1));

    let config = load_with(
        "[query]\nmax-rows = 5\nmax-body = 100\ntimeout = \"250ms\"\nread-only = false\n\
         [catalog.server]\nlisten = \"0.0.0.0:1\"\nallow-anonymous = true\n\
         [services.silver]\ninterval = \"2m\"",
        &[
            ("BERGLAKE_QUERY__TOKENS", "one, two,"),
            ("BERGLAKE_SERVICES__SHUTDOWN_TIMEOUT", "5s"),
        ],
        &[("query.memory", "64MiB")],
    )
    .unwrap();
    assert_eq!((config.query.max_rows, config.query.max_body), (5, 100));
    assert_eq!(config.query.timeout, Duration::from_millis(250));
    assert_eq!(config.query.memory, 64 << 20);
    assert!(!config.query.read_only && config.catalog_server.allow_anonymous);
    let tokens: Vec<_> = config
        .query
        .server
        .tokens
        .iter()
        .map(|t| t.reveal())
        .collect();
    assert_eq!(tokens, ["one", "two"]);
    assert_eq!(config.services.silver.interval, Duration::from_secs(120));
    assert_eq!(config.services.shutdown_timeout, Duration::from_secs(5));
    let shown = config.to_toml(false);
    assert!(shown.contains("tokens = \"***\"\n"), "{shown}");
    assert!(shown.contains("max-rows = 5\n"), "{shown}");
    load(&shown.replace("0.0.0.0", "127.0.0.1")).unwrap();
}

#[test]
fn an_unknown_key_names_its_line_and_the_nearest() {
    let error = load("[storage]\n\nwarehose = \"x\"\n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(error.message(), "unknown key \"warehose\" in [storage]");
    assert_eq!(context(&error, "line"), "3");
    assert!(context(&error, "file").ends_with("berglake.toml"));
    assert_eq!(
        error.advice(),
        Some("did you mean warehouse? allowed in [storage]: warehouse, metadata-cache, s3")
    );

    let error = load("[stroage]\nwarehouse = \"x\"\n").unwrap_err();
    assert_eq!(context(&error, "line"), "1");
    assert!(error.advice().unwrap().starts_with("did you mean storage?"));

    assert!(load("[connections.a]\nkind = \"files\"\npth = \"x\"").is_err());
    assert!(load("[variables.a]\nb = 1").is_err());
}

#[test]
fn a_value_of_another_type_is_named() {
    for (text, message, line) in [
        (
            "[storage.s3]\npath-style = \"yes\"",
            "true or false is expected, not a string",
            "2",
        ),
        (
            "[project]\n\nname = 3",
            "a string is expected, not an integer",
            "3",
        ),
        (
            "storage = 1",
            "a section is expected here, not an integer",
            "1",
        ),
        (
            "[defaults]\na.b = [1]",
            "a string, a number, true or false is expected, not an array",
            "2",
        ),
        (
            "[defaults]\nx-bytes = \"12 parsecs\"",
            "\"12 parsecs\" is no size",
            "2",
        ),
        ("[project]\nname = \"\"", "the value must not be empty", "2"),
        (
            "[catalog]\nuri = \"mysql://h/db\"",
            "\"mysql\" is no kind of catalog",
            "2",
        ),
        (
            "[storage]\nwarehouse = \"hdfs://h/x\"",
            "unknown scheme \"hdfs\"",
            "2",
        ),
        (
            "[storage.s3]\nendpoint = \"localhost:9000\"",
            "the endpoint is no http or https URL",
            "2",
        ),
        (
            "[connections.p]\nkind = \"postgres\"\nhost = \"h\"",
            "connections of the kind \"postgres\" are not supported by this version",
            "2",
        ),
        (
            "[connections.k]\nkind = \"kafka\"\nbootstrap-servers = \"h:1\"\npath = \"x\"",
            "a connection of the kind \"kafka\" has no key \"path\"",
            "4",
        ),
        (
            "[connections.k]\nkind = \"kafka\"\nbootstrap-servers = \" \"",
            "the connection to Kafka cannot be used: no server is named",
            "3",
        ),
        (
            "[connections.k]\nkind = \"kafka\"\nbootstrap-servers = \"h:1\"\noptions = {\"group.id\" = []}",
            "a string, a number, true or false is expected, not an array",
            "4",
        ),
        (
            "[connections.k]\nkind = \"kafka\"\nbootstrap-servers = \"h:1\"\n[connections.k.options]\nisolation.level = \"read_uncommitted\"",
            "the connection to Kafka cannot be used: the option \"isolation.level\" is not for the user to set",
            "5",
        ),
        (
            "[defaults]\n\nwrite.parquet.compression-codec = \"gzp\"",
            "a table property has a value that is not allowed",
            "3",
        ),
        (
            "[defaults]\nwrite.parquet.compression-codec = \"zstd\"\n[layers.gold]\nwrite.parquet.compression-level = 99",
            "a table property has a value that is not allowed",
            "4",
        ),
        (
            "[query]\nlisten = \"8080\"",
            "\"8080\" is no address to listen at",
            "2",
        ),
        (
            "[query]\ntimeout = 30",
            "a time such as \"30s\" is expected, not an integer",
            "2",
        ),
        (
            "[query]\nmax-rows = 0",
            "\"0\" is no whole number above 0",
            "2",
        ),
        ("[query]\nmemory = \"much\"", "\"much\" is no size", "2"),
        (
            "[services.gold]\ninterval = \"0s\"",
            "\"0s\" is no time",
            "2",
        ),
        (
            "[query]\ntokens = \"one two\"",
            "a token has a character that no header can carry",
            "2",
        ),
        (
            "[connections.k]\nkind = \"carrier\"",
            "unknown kind of connection \"carrier\"",
            "2",
        ),
    ] {
        let error = load(text).unwrap_err();
        assert_eq!(error.message(), message);
        assert_eq!(context(&error, "line"), line, "{text}");
    }
    let error = load("[project]\nname = \"a\"\nname = \"b\"\n").unwrap_err();
    assert_eq!(context(&error, "line"), "3", "{error}");
    assert!(error.message().contains("no valid TOML"), "{error}");
}

#[test]
fn the_environment_wins_over_the_file_and_flags_over_both() {
    let text = "[catalog]\nname = \"file\"\n[variables]\nData-Folder = \"file\"\n[storage]\nwarehouse = \"file\"";
    let config = load_with(
        text,
        &[
            ("BERGLAKE_CATALOG__NAME", "environment"),
            ("BERGLAKE_VARIABLES__DATA_FOLDER", "environment"),
            ("BERGLAKE_VARIABLES__YEAR", "2010"),
            ("BERGLAKE_STORAGE__WAREHOUSE", "s3://b/w"),
            ("BERGLAKE_STORAGE__S3__PATH_STYLE", "true"),
            ("BERGLAKE_DEFAULTS__WRITE_TARGET_FILE_SIZE_BYTES", "1MiB"),
            ("BERGLAKE_LAYERS__GOLD__FORMAT_VERSION", "3"),
            ("BERGLAKE_LOG", "debug"),
            ("PATH", "/bin"),
        ],
        &[
            ("catalog.name", "flag"),
            ("defaults.write.parquet.compression-codec", "zstd"),
        ],
    )
    .unwrap();
    assert_eq!(config.catalog_name, "flag");
    assert_eq!(config.variables["Data-Folder"], "environment");
    assert_eq!(config.variables["year"], "2010");
    assert_eq!(config.warehouse, "s3://b/w");
    assert!(config.storage.s3.path_style);
    assert_eq!(config.defaults["write.target-file-size-bytes"], "1048576");
    assert_eq!(config.defaults["write.parquet.compression-codec"], "zstd");
    assert_eq!(config.layers["gold"]["format-version"], "3");

    let shown = config.to_toml(true);
    assert!(shown.contains("name = \"flag\"  # command line"), "{shown}");
    assert!(
        shown.contains("Data-Folder = \"environment\"  # BERGLAKE_VARIABLES__DATA_FOLDER"),
        "{shown}"
    );
    assert!(
        shown.contains("pipelines = \"pipelines\"  # default"),
        "{shown}"
    );
    let file = load(text).unwrap().to_toml(true);
    assert!(
        file.contains("name = \"file\"  # berglake.toml:2"),
        "{file}"
    );
}

#[test]
fn an_override_that_names_no_key_is_an_error() {
    for (variable, help) in [
        (
            "BERGLAKE_STORAGE__WAREHOSE",
            "did you mean BERGLAKE_STORAGE__WAREHOUSE?",
        ),
        ("BERGLAKE_NOTHING__AT__ALL", "docs/configuration.md"),
        (
            "BERGLAKE_CATALOG_URI",
            "did you mean BERGLAKE_CATALOG__URI?",
        ),
        (
            "BERGLAKE_DEFAULTS__NO_SUCH_PROPERTY",
            "name the property in berglake.toml",
        ),
    ] {
        let error = load_with("", &[(variable, "x")], &[]).unwrap_err();
        assert_eq!(context(&error, "variable"), variable);
        assert!(error.advice().unwrap().contains(help), "{error}");
    }
    let error = load_with("", &[("BERGLAKE_STORAGE__S3__PATH_STYLE", "maybe")], &[]).unwrap_err();
    assert_eq!(
        context(&error, "variable"),
        "BERGLAKE_STORAGE__S3__PATH_STYLE"
    );

    let error = load_with("", &[], &[("storage.s3.regin", "x")]).unwrap_err();
    assert_eq!(context(&error, "key"), "storage.s3.regin");
    assert!(
        error.advice().unwrap().starts_with("did you mean region?"),
        "{error}"
    );
    assert!(load_with("", &[], &[("stroage.warehouse", "x")]).is_err());
}

#[test]
fn secrets_are_in_no_output() {
    let config = load_with(
        "[catalog]\nuri = \"postgres://me:hunter2@h/db?sslpassword=hunter3&application_name=x\"\n\
         [storage.s3]\naccess-key-id = \"hunter4\"\nendpoint = \"http://u:hunter5@h:9000\"",
        &[("BERGLAKE_STORAGE__S3__SECRET_ACCESS_KEY", "hunter6")],
        &[],
    )
    .unwrap();
    for printed in [
        config.to_toml(true),
        format!("{config:?}"),
        format!("{:?}", config.settings()),
    ] {
        assert!(!printed.contains("hunter"), "{printed}");
        assert!(printed.contains("me:***@h/db"), "{printed}");
        assert!(printed.contains("application_name=x"), "{printed}");
    }
}

#[test]
fn shown_toml_can_be_read_again() {
    let config = load(
        "[layers.\"a b\"]\nwrite.x = 'quote \" and \\'\n[variables]\nn = 1\n[storage.s3]\npath-style = true",
    )
    .unwrap();
    let again = load(&config.to_toml(true)).unwrap();
    assert_eq!(again.layers, config.layers);
    assert_eq!(again.variables, config.variables);
    assert_eq!(again.warehouse, config.warehouse);
    assert_eq!(again.catalog_uri, config.catalog_uri);
    assert!(again.storage.s3.path_style);
}

#[test]
fn a_folder_without_a_file_says_how_to_make_a_project() {
    let folder = tempfile::tempdir().unwrap();
    let error = Config::load(folder.path(), []).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.advice().unwrap().contains("berglake init"));
}

#[test]
fn sizes_have_units() {
    for (text, bytes) in [
        ("12", Some(12)),
        ("128MiB", Some(128 << 20)),
        ("1 GiB", Some(1 << 30)),
        ("5kb", Some(5_000)),
        ("", None),
        ("MiB", None),
        ("-1", None),
        ("1.5MiB", None),
        ("99999999999GiB", None),
    ] {
        assert_eq!(parse_size(text), bytes, "{text}");
    }
}

#[test]
fn whatever_looks_like_a_port_or_a_path_before_an_at_is_hidden() {
    for (text, shown) in [
        ("postgres://u:12#34@h/db", "***@h/db"),
        ("postgres://u:12/34@h/db", "***@h/db"),
        ("postgres://u:12?34@h/db", "***@h/db"),
        ("postgres://u:a@b/c@h/db", "***@h/db"),
        ("postgres:u:secret@h/db", "***@h/db"),
        (
            "postgres://u:12/34@h/db?x=1&sslpassword=no",
            "***@h/db?x=1&sslpassword=***",
        ),
        (
            "postgres://u:ab/34@h/db?password=no&x=1",
            "***@h/db?password=***&x=1",
        ),
        ("postgres://u:12?token=34@h/db", "***"),
        ("postgres://u:p@h/db?password=a@b", "***"),
        ("postgres://u@h/db", "postgres://u@h/db"),
        ("postgres://h:5432/db", "postgres://h:5432/db"),
        ("sqlite:.berglake/catalog.db", "sqlite:.berglake/catalog.db"),
    ] {
        assert_eq!(mask_url(text), shown, "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn masking_never_shows_a_password(password in "[a-zA-Z0-9!$&*+,;=_.#/?-]{6,20}") {
        let masked = mask_url(&format!("postgres://user:{password}@host:5432/db"));
        if password.contains(['#', '/', '?']) {
            // All of it, if what follows a `?` looks like a parameter with a secret.
            proptest::prop_assert!(["***@host:5432/db", "***"].contains(&masked.as_str()), "{}", masked);
        } else {
            proptest::prop_assert_eq!(masked, "postgres://user:***@host:5432/db");
        }
    }
}

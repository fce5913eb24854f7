//! What patterns read and write.

use super::*;

fn parse(pattern: &str, text: &str) -> Option<String> {
    Pattern::compile(pattern)
        .unwrap()
        .parse(text)
        .and_then(Instant::utc)
        .map(|time| time.to_string())
}

#[test]
fn patterns_read_what_sparks_do() {
    let cases = [
        ("MMM d yyyy", "Jun 12 1998", Some("1998-06-12 00:00:00")),
        ("MMM d yyyy", "jun 2 1998", Some("1998-06-02 00:00:00")),
        ("MMM d yyyy", "Jun 31 1998", None),
        ("MMM d yyyy", "June 12 1998", None),
        ("MMM d yyyy", "Jun 12 1998 ", None),
        ("MMMM d, yyyy", "June 12, 1998", Some("1998-06-12 00:00:00")),
        ("yyyyMMdd", "20240229", Some("2024-02-29 00:00:00")),
        ("yyyyMMdd", "20230229", None),
        ("d-MMM-yy", "1-Jan-07", Some("2007-01-01 00:00:00")),
        ("dd/MM/yyyy", "1/02/2020", None),
        ("d/M/yyyy", "01/2/2020", Some("2020-02-01 00:00:00")),
        (
            "yyyy-MM-dd HH:mm:ss.SSS",
            "2020-01-02 03:04:05.6",
            Some("2020-01-02 03:04:05.600"),
        ),
        (
            "yyyy-MM-dd'T'HH:mm:ssXXX",
            "2020-01-02T03:04:05+02:00",
            Some("2020-01-02 01:04:05"),
        ),
        (
            "yyyy-MM-dd'T'HH:mm:ssX",
            "2020-01-02T03:04:05Z",
            Some("2020-01-02 03:04:05"),
        ),
        (
            "yyyy-MM-dd h:mm a",
            "2020-01-02 12:30 am",
            Some("2020-01-02 00:30:00"),
        ),
        (
            "yyyy-MM-dd h:mm a",
            "2020-01-02 1:30 PM",
            Some("2020-01-02 13:30:00"),
        ),
        (
            "yyyy-MM-dd[ HH:mm]",
            "2020-01-02",
            Some("2020-01-02 00:00:00"),
        ),
        (
            "yyyy-MM-dd[ HH:mm]",
            "2020-01-02 10:20",
            Some("2020-01-02 10:20:00"),
        ),
        (
            "yyyy-MM-dd HH:mm VV",
            "2020-07-01 12:00 Europe/Zurich",
            Some("2020-07-01 10:00:00"),
        ),
        (
            "E, d MMM yyyy",
            "Thu, 2 Jan 2020",
            Some("2020-01-02 00:00:00"),
        ),
        ("yyyy", "2020", Some("2020-01-01 00:00:00")),
        ("DDD yyyy", "060 2020", Some("2020-02-29 00:00:00")),
    ];
    for (pattern, text, expected) in cases {
        assert_eq!(
            parse(pattern, text).as_deref(),
            expected,
            "{pattern} on {text:?}"
        );
    }
}

#[test]
fn patterns_write_what_sparks_do() {
    let time = NaiveDate::from_ymd_opt(2020, 2, 3)
        .and_then(|date| date.and_hms_micro_opt(4, 5, 6, 789_000))
        .unwrap();
    let cases = [
        ("yyyy-MM-dd HH:mm:ss", "2020-02-03 04:05:06"),
        ("MMM d yyyy", "Feb 3 2020"),
        ("MMMM d, yy", "February 3, 20"),
        ("EEEE E", "Monday Mon"),
        ("h a K k", "4 AM 4 4"),
        ("SSS", "789"),
        ("D DDD", "34 034"),
        ("QQQ", "Q1"),
        ("'day' d ''", "day 3 '"),
        ("X x VV", "Z +00 UTC"),
    ];
    for (pattern, expected) in cases {
        assert_eq!(Pattern::compile(pattern).unwrap().format(time), expected);
    }
}

#[test]
fn casts_read_dates_and_times_of_any_precision() {
    let cases = [
        ("2020", Some("2020-01-01 00:00:00")),
        ("2020-2-3", Some("2020-02-03 00:00:00")),
        ("2020-02-03T04:05:06.5Z", Some("2020-02-03 04:05:06.500")),
        ("2020-02-03 04:05+01:00", Some("2020-02-03 03:05:00")),
        ("2020-02-03 04:05:06 UTC", Some("2020-02-03 04:05:06")),
        ("2020-13-01", None),
        ("20-01-01", None),
        ("yesterday", None),
    ];
    for (text, expected) in cases {
        let read = parse_plain(text)
            .and_then(Instant::utc)
            .map(|time| time.to_string());
        assert_eq!(read.as_deref(), expected, "{text:?}");
    }
}

#[test]
fn a_pattern_that_means_nothing_is_an_error() {
    for pattern in ["yyyy-bb", "'open", "[yyyy", "yyyy]"] {
        assert!(Pattern::compile(pattern).is_err(), "{pattern}");
    }
}

#[test]
fn no_pattern_takes_up_the_stack_the_time_or_the_width_of_a_number() {
    let error = Pattern::compile(&"-".repeat(300_000)).unwrap_err();
    assert!(error.to_string().len() < 200, "{error}");
    assert!(Pattern::compile(&"y".repeat(70_000)).is_err());

    // A try for each way to leave some out would never end.
    let blanks = format!("{}x", " ".repeat(20));
    assert_eq!(parse(&"[ ]".repeat(40), &blanks), None);
    assert_eq!(parse(&"[d]".repeat(300), &"1".repeat(300)), None);
    let nested = format!("{}yyyy{}", "[".repeat(400), "]".repeat(400));
    assert!(parse(&nested, "2020").is_some());
    assert!(parse(&nested, "").is_some());
    assert_eq!(parse(&"-".repeat(MAX_LENGTH), &"-".repeat(300_000)), None);

    let wide = Pattern::compile(&"y".repeat(MAX_LENGTH)).unwrap();
    let written = wide.format(NaiveDateTime::default());
    assert_eq!(written.len(), MAX_LENGTH);
    assert!(written.ends_with("1970"));
    let number = "1".repeat(300_000);
    assert_eq!(parse(&"y".repeat(MAX_LENGTH), &number), None);
    assert_eq!(parse("y", &number), None);
}

#[test]
fn what_may_be_missing_is_read_where_it_can_be() {
    for (pattern, text, expected) in [
        ("yyyy[-MM[-dd]][ HH]", "2020", Some("2020-01-01 00:00:00")),
        (
            "yyyy[-MM[-dd]][ HH]",
            "2020-03",
            Some("2020-03-01 00:00:00"),
        ),
        (
            "yyyy[-MM[-dd]][ HH]",
            "2020-03-04 05",
            Some("2020-03-04 05:00:00"),
        ),
        (
            "yyyy[-MM[-dd]][ HH]",
            "2020 05",
            Some("2020-01-01 05:00:00"),
        ),
        ("yyyy[-MM[-dd]][ HH]", "2020-03-", None),
        ("[[d]-]yyyy", "7-2020", Some("2020-01-07 00:00:00")),
        ("[[d]-]yyyy", "-2020", Some("2020-01-01 00:00:00")),
        // What is given up leaves nothing behind.
        ("[dd]M-yyyy", "3-2020", Some("2020-03-01 00:00:00")),
        ("[d][M]yyyy", "2020", Some("2020-01-01 00:00:00")),
    ] {
        assert_eq!(
            parse(pattern, text).as_deref(),
            expected,
            "{pattern} on {text:?}"
        );
    }
}

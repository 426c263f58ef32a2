//! The same requests counted here and by goaccess, under the same rule: a visitor is an address and
//! a browser on one day, bots are left out, refused requests visit nothing.

use observe::visits::{Hit, Salt, Visits, v1};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use testkit::TempDir;

/// 2026-11-22 00:00:00 UTC.
const MIDNIGHT: i64 = 1_795_305_600_000;

/// Half of them bots for both; tools such as curl are bots here and people for goaccess.
const AGENTS: [&str; 6] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Safari/605.1.15",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
];
const PATHS: [&str; 8] =
    ["/", "/shop", "/shop/cart", "/about.html", "/style.css", "/img/a.png", "/app.js", "/missing"];

fn salt() -> Salt {
    Salt([7; 32])
}

/// The same in each run (splitmix64).
fn spread(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One request: as the gateway writes it, and as goaccess reads it.
fn request(number: i64, state: &mut u64) -> (String, String) {
    let mut pick = |count: u64| spread(state) % count;
    let address = format!("10.0.{}.{}", pick(4), pick(200));
    let agent = AGENTS[pick(AGENTS.len() as u64) as usize];
    let path = PATHS[pick(PATHS.len() as u64) as usize];
    let status = match (path, pick(20)) {
        ("/missing", _) => 404,
        (_, 0) => 500,
        (_, 1) => 304,
        _ => 200,
    };
    let bytes = pick(5000);
    let second = number * 86_400 / 6_000;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let ours = format!(
        r#"{{"time":"2026-11-22T{hour:02}:{minute:02}:{second:02}.000Z","client":"{address}","agent":"{agent}","backend":"s/web:80","method":"GET","host":"shop.example","path":"{path}","status":{status},"bytes_out":{bytes},"duration_us":1200}}"#
    );
    let theirs = format!(
        r#"{address} - - [22/Nov/2026:{hour:02}:{minute:02}:{second:02} +0000] "GET {path} HTTP/1.1" {status} {bytes} "-" "{agent}""#
    );
    (ours, theirs)
}

#[test]
fn visitors_and_pages_are_those_of_goaccess() {
    let Some(program) = testkit::needs("goaccess", "goaccess") else { return };
    let (mut state, mut visits, mut combined) = (1, Visits::new(MIDNIGHT, salt), String::new());
    for number in 0..6_000 {
        let (ours, theirs) = request(number, &mut state);
        visits.add(&Hit::parse(ours.as_bytes()).expect("a line of the gateway"));
        writeln!(combined, "{theirs}").expect("memory");
    }
    let directory = TempDir::new();
    let (log, answer) = (directory.path().join("access.log"), directory.path().join("answer.json"));
    std::fs::write(&log, combined).expect("written");
    let mut command = Command::new(program);
    command
        .args(["--no-global-config", "--log-format=COMBINED", "--ignore-crawlers", "--no-progress"])
        .args(["--http-method=no", "--http-protocol=no", "--static-file=.css", "--static-file=.png"])
        .args(["--static-file=.js", "--max-items=100"])
        .arg("-f")
        .arg(&log)
        .arg("-o")
        .arg(&answer);
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).output().expect("goaccess runs");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let answer: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&answer).expect("an answer")).expect("JSON");

    let totals = visits.today().totals();
    let general = &answer["general"];
    assert_eq!(general["unique_visitors"], totals.visitors, "{general}");
    assert!(totals.visitors > 1_000, "{totals:?}");
    assert_eq!(answer["visitors"]["data"][0]["hits"]["count"], totals.requests, "{}", answer["visitors"]);
    let rows = answer["requests"]["data"].as_array().expect("rows");
    let theirs: BTreeMap<String, u64> = rows
        .iter()
        .map(|row| {
            let path = row["data"].as_str().expect("a path");
            (format!("shop.example{path}"), row["hits"]["count"].as_u64().expect("a number"))
        })
        .collect();
    let ours: BTreeMap<String, u64> =
        visits.today().pages.top(100).into_iter().map(|(name, page)| (name.to_owned(), page.views)).collect();
    assert_eq!(ours, theirs);
}

#[test]
fn what_is_kept_is_read_back() {
    let (mut state, mut visits) = (2, Visits::new(MIDNIGHT, salt));
    for number in 0..500 {
        let (ours, _) = request(number, &mut state);
        visits.add(&Hit::parse(ours.as_bytes()).expect("a line of the gateway"));
    }
    let cursor = v1::Cursor { inode: 7, offset: 4_096 };
    let (mut again, at) = v1::read(&v1::write(&visits, Some(cursor)), salt).expect("read back");
    assert_eq!((at, again.today()), (Some(cursor), visits.today()));
    let before = again.today().totals().visitors;
    let (same, _) = request(0, &mut 2);
    again.add(&Hit::parse(same.as_bytes()).expect("a line"));
    assert_eq!(again.today().totals().visitors, before, "known again");
}

/// Kept for ever: what version 1 wrote.
#[test]
fn version_one_is_read_for_ever() {
    let golden = include_bytes!("../golden/visits-v1.json");
    let (visits, cursor) = v1::read(golden, salt).expect("version 1");
    assert_eq!(cursor, Some(v1::Cursor { inode: 7, offset: 4_096 }));
    let days: Vec<_> = visits.days().map(|day| (day.date.as_str(), day.totals().visitors)).collect();
    assert_eq!(days, [("2026-11-21", 3), ("2026-11-22", 2)]);
    assert_eq!(visits.today().pages.top(1)[0].0, "shop.example/");
    assert!(v1::read(br#"{"version":9}"#, salt).is_err_and(|error| error.to_string().contains("version 9")));
    assert!(v1::read(b"{", salt).is_err());
}

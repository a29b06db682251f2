//! The HTML reports of `--html`, as Chromium shows them: their figures are those of the JSON
//! document, nothing is asked of any network, and nothing is wider than the window.

#[path = "common/native.rs"]
mod native;

use native::bmnic;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Width of the window, pixels.
const WIDTH: u32 = 800;

/// Debian's Chromium, or a word why it is not there.
fn chromium() -> Option<PathBuf> {
    let found = native::program("chromium");
    if found.is_none() {
        println!("SKIPPED  HTML reports in a browser: chromium is not installed (apt-get install chromium)");
    }
    found
}

/// What a page was like once it was loaded.
#[derive(Debug)]
struct Seen {
    /// Pixels by which it is wider than the window.
    overflow: u32,
    /// What it asked others for.
    fetched: u32,
    /// Scripts but for the one that looks.
    scripts: u32,
    /// Values of its figures, in order.
    figures: Vec<String>,
    /// Sizes of its pictures, pixels.
    pictures: Vec<[f64; 2]>,
    /// What the browser complained of.
    console: Vec<String>,
}

/// Puts what it sees where `--dump-dom` shows it.
const LOOK: &str = "<script>addEventListener('load', () => {
    const root = document.documentElement, all = what => [...document.querySelectorAll(what)];
    const sizes = all('svg').map(svg => svg.getBoundingClientRect()).map(box => box.width + ' ' + box.height);
    const seen = [root.scrollWidth - root.clientWidth, performance.getEntriesByType('resource').length,
        document.scripts.length - 1, all('data').map(one => one.getAttribute('value')).join(';'), sizes.join(';')];
    const out = document.createElement('pre');
    out.textContent = 'SEEN|' + seen.join('|') + '|SEEN';
    document.body.append(out);
})</script>";

/// Runs the browser on a file, without the network; what it prints and complains of.
fn browse(chromium: &Path, page: &Path, options: &[&str]) -> [String; 2] {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"])
        .args(["--no-first-run", "--disable-background-networking", "--enable-logging=stderr", "--v=0"])
        .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={WIDTH},1200"))
        .args(options)
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let [out, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{:?}: {errors}", output.status);
    [out, errors]
}

/// What a page is like, with a script that looks at it: its policy would not let that run.
fn seen(chromium: &Path, page: &str, dir: &Path) -> Seen {
    let (before, rest) = page.split_once("<meta http-equiv=\"Content-Security-Policy\"").expect("a policy");
    let (_, after) = rest.split_once('>').unwrap();
    let copy = dir.join("copy.html");
    fs::write(&copy, format!("{before}{after}").replace("</body>", &format!("{LOOK}</body>"))).unwrap();
    let [dom, errors] = browse(chromium, &copy, &["--dump-dom"]);
    let told = dom.split("SEEN|").nth(2).unwrap_or_else(|| panic!("it was not looked at:\n{dom}\n{errors}"));
    let mut fields = told.split('|');
    let mut next = || fields.next().unwrap();
    let [overflow, fetched, scripts] = [next(), next(), next()].map(|field| field.parse().unwrap());
    let figures = next().split(';').filter(|value| !value.is_empty()).map(str::to_owned).collect();
    let size = |size: &str| {
        let (width, height) = size.split_once(' ').unwrap();
        [width, height].map(|side| side.parse().unwrap())
    };
    let pictures = next().split(';').filter(|one| !one.is_empty()).map(size).collect();
    Seen { overflow, fetched, scripts, figures, pictures, console: console(&errors) }
}

/// Lines of the browser's own log that are about the page.
fn console(errors: &str) -> Vec<String> {
    errors.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect()
}

/// Every number of a document, as it is written there.
fn numbers(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(all) => all.iter().for_each(|value| numbers(value, found)),
        Value::Object(all) => all.values().for_each(|value| numbers(value, found)),
        _ => {}
    }
}

/// Runs a command with `--html` and looks at what it leaves.
fn look(words: &[&str], pictures: usize) {
    let dir = tempfile::tempdir().unwrap();
    // Of a name that is no name of HTML.
    let file = dir.path().join("<b>report & \"more\".html");
    let output =
        bmnic(&[words, &["--json", "--html", file.to_str().unwrap()]].concat()).stdin(Stdio::null()).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{words:?}: {e}: {}", String::from_utf8_lossy(&output.stderr)));
    let page = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{words:?}: {e}: {document:#}"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    for word in ["<script", " src=", " href=", "url(", "@import", "<b>report"] {
        assert!(!page.contains(word), "{words:?}: {word} in the page");
    }
    assert!(page.contains("&lt;b&gt;report &amp; &quot;more&quot;.html"), "the command line:\n{page}");

    let Some(chromium) = chromium() else { return };
    let seen = seen(&chromium, &page, dir.path());
    let mut expected = Vec::new();
    numbers(&document, &mut expected);
    let mut figures = seen.figures.clone();
    figures.sort_unstable();
    expected.sort_unstable();
    assert_eq!(figures, expected, "{words:?}");
    assert_eq!((seen.overflow, seen.fetched, seen.scripts), (0, 0, 0), "{words:?}");
    assert_eq!(seen.console, [""; 0], "{words:?}");
    assert_eq!(seen.pictures.len(), pictures, "{words:?}");
    for [width, height] in &seen.pictures {
        assert!((400.0..=f64::from(WIDTH)).contains(width) && *height > 200.0, "{words:?}: {:?}", seen.pictures);
    }

    // As it is, with its policy: there is something to see, and nothing to complain of.
    let shot = dir.path().join("shot.png");
    let plain = dir.path().join("plain.html");
    fs::write(&plain, &page).unwrap();
    let [_, errors] = browse(&chromium, &plain, &[&format!("--screenshot={}", shot.display())]);
    assert_eq!(console(&errors), [""; 0], "{words:?}");
    let png = fs::read(&shot).unwrap();
    assert!(png.len() > 20_000, "{words:?}: a picture of {} bytes is empty", png.len());
    if let Some(to) = std::env::var_os("BMNIC_SHOTS") {
        fs::copy(&shot, Path::new(&to).join(format!("{}.png", words[0]))).unwrap();
        fs::copy(&plain, Path::new(&to).join(format!("{}.html", words[0]))).unwrap();
    }
}

/// Where a machine that is busy elsewhere is not the point.
const LENIENT: [&str; 4] = ["--allow-shortfall", "100%", "--allow-loss", "100%"];

#[test]
fn a_latency_is_a_page_with_its_distribution() {
    look(&[&["latency", "-c", "20k", "-r", "20k"][..], &LENIENT].concat(), 1);
    look(&[&["latency", "-d", "50ms", "-r", "5k", "--stages"][..], &LENIENT].concat(), 0);
}

#[test]
fn a_throughput_is_a_page_with_its_rates() {
    look(&["throughput", "-t", "5ms", "--runs", "2"], 1);
    look(&["throughput", "-t", "5ms", "-s", "64", "--runs", "2", "--ndr", "--precision", "10%"], 1);
}

#[test]
fn a_comparison_is_a_page_too() {
    let Some(_turn) = native::dpdk() else { return };
    look(&["compare-dpdk", "--rounds", "0", "--batch", "1,4,8,16,32,64"], 0);
    look(&["compare-dpdk", "--testpmd", "--rounds", "1", "-d", "200ms"], 0);
}

#[test]
fn a_page_that_is_wide_or_asks_or_complains_is_found() {
    let Some(chromium) = chromium() else { return };
    let dir = tempfile::tempdir().unwrap();
    let of = |body: &str| {
        let policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'\">";
        seen(&chromium, &format!("<!DOCTYPE html><html><head>{policy}</head><body>{body}</body></html>"), dir.path())
    };
    assert!(of("<div style='width:900px'>wide</div>").overflow > 0);
    assert!(of("<img src='http://192.0.2.1/x.png'>").fetched > 0);
    let odd = of("<script>console.error('odd')</script><data value='7'>7</data>");
    assert!(odd.console.len() == 1 && odd.scripts == 1 && odd.figures == ["7"], "{odd:?}");
}

#[test]
fn a_report_is_whole_or_what_was_there_stays() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report.html");
    let path = file.to_str().unwrap();
    let run = |words: &[&str]| {
        let output = bmnic(words).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    fs::write(&file, "old").unwrap();
    // What cannot be written is said before anything is run.
    let (code, errors) = run(&["throughput", "--html", "/nonexistent/report.html"]);
    assert!(code == Some(1) && errors.contains("creating /nonexistent/report.html"), "{errors}");
    let (code, errors) = run(&["latency", "-c", "10", "--svg", path, "--html", path]);
    assert!(code == Some(2) && errors.contains("named for two results"), "{errors}");
    // One that fails on its way leaves it, and so does a full disk.
    let (code, _) = run(&["latency", "emu:82599,wire=loop,loss=100%", "-c", "10", "--html", path]);
    assert_ne!(code, Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    let (code, errors) = run(&["throughput", "-t", "1ms", "-s", "64", "--html", "/dev/full"]);
    assert!(code == Some(1) && errors.contains("No space left"), "{errors}");
    let stages = bmnic(&["latency", "-c", "10", "--stages", "--html", "/dev/full"]).output().unwrap();
    let table = String::from_utf8_lossy(&stages.stdout).into_owned();
    assert!(stages.status.code() == Some(1) && table.contains("doorbell"), "the table is there all the same: {table}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

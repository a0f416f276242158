//! The report in a real browser: it opens quickly and without a word on the console, answers
//! pointer and keyboard, and can be read in light and dark.
//!
//! Skips with a message where ChromeDriver is not installed.

mod driver;
mod page;

use std::path::PathBuf;

use driver::Browser;

const PLOT: &str = "#chart-0 .plot";
const RIGHT: &str = "\u{e014}";
const END: &str = "\u{e010}";
const HOME: &str = "\u{e011}";

/// A browser that shows a report of so many nodes.
fn opened(n_nodes: usize) -> Option<(Browser, tempfile::TempDir, PathBuf)> {
    let Some(browser) = Browser::start() else {
        eprintln!("skipped: no chromedriver on the PATH");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    page::write(&file, n_nodes);
    browser.open(&file);
    assert_eq!(browser.run("return document.documentElement.dataset.ready"), "1");
    Some((browser, folder, file))
}

fn text(browser: &Browser, selector: &str) -> String {
    let script = format!("return document.querySelector('{selector}').textContent");
    browser.run(&script).as_str().unwrap_or_default().to_owned()
}

fn step(browser: &Browser) -> i64 {
    let script = format!("return Number(document.querySelector('{PLOT}').getAttribute('aria-valuenow'))");
    browser.run(&script).as_i64().unwrap()
}

#[test]
fn pointing_at_a_step_tells_what_is_alive_there() {
    let Some((browser, _folder, _)) = opened(200) else { return };
    assert_eq!(browser.run(&format!("return document.querySelector('{PLOT} .tip').hidden")), true);
    browser.hover(PLOT, 0, 20);
    assert_eq!(browser.run(&format!("return document.querySelector('{PLOT} .tip').hidden")), false);
    let middle = step(&browser);
    let tip = text(&browser, &format!("{PLOT} .tip"));
    assert!(tip.contains("Conv_") && tip.contains("in use") && tip.contains("output_0"), "{tip}");
    browser.hover(PLOT, 200, 20);
    assert!(step(&browser) > middle + 10);
    assert_ne!(text(&browser, &format!("{PLOT} .tip")), tip);
    // The table below follows, and its parts sum to what is in use.
    assert!(text(&browser, "#chart-0 .alive").contains("Conv_"));
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn the_keyboard_walks_zooms_and_finds_the_peak() {
    let Some((browser, _folder, _)) = opened(200) else { return };
    browser.run(&format!("document.querySelector('{PLOT}').focus()"));
    let whole = text(&browser, "#chart-0 .where");
    browser.press(&[HOME]);
    assert_eq!(step(&browser), 1);
    browser.press(&[RIGHT, RIGHT]);
    assert_eq!(step(&browser), 3);
    browser.press(&[END]);
    assert_eq!(step(&browser), 401);
    browser.press(&["p"]);
    assert_eq!(step(&browser), 1 + page::PEAK_STEP);
    browser.press(&["+", "+"]);
    assert_ne!(text(&browser, "#chart-0 .where"), whole);
    // The view follows a step that leaves it.
    browser.press(&[END]);
    assert!(text(&browser, "#chart-0 .where").contains("–400 of 401"));
    browser.press(&["0"]);
    assert_eq!(text(&browser, "#chart-0 .where"), whole);
    let spoken = browser.run(&format!("return document.querySelector('{PLOT}').getAttribute('aria-valuetext')"));
    assert!(spoken.as_str().unwrap().contains("in use"), "{spoken}");
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn the_wheel_zooms_and_a_drag_selects() {
    let Some((browser, _folder, _)) = opened(200) else { return };
    let whole = text(&browser, "#chart-0 .where");
    browser.wheel(PLOT, -400);
    let zoomed = text(&browser, "#chart-0 .where");
    assert_ne!(zoomed, whole);
    browser.run("document.querySelector('#chart-0 button[aria-label=\"Show the whole run\"]').click()");
    assert_eq!(text(&browser, "#chart-0 .where"), whole);
    browser.drag(PLOT, -100, 100);
    assert_ne!(text(&browser, "#chart-0 .where"), whole);
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn names_stay_text_and_every_control_has_a_name() {
    let Some((browser, _folder, _)) = opened(20) else { return };
    assert_eq!(browser.run("return document.querySelectorAll('img, iframe, object').length"), 0);
    assert_eq!(browser.run("return window.hacked === undefined"), true);
    browser.run(&format!("document.querySelector('{PLOT}').focus()"));
    browser.press(&["p"]);
    assert!(text(&browser, &format!("{PLOT} .tip")).contains("<img src=x onerror=\"window.hacked=1\">"));
    let unnamed = "return [...document.querySelectorAll('button, [role], section, [tabindex]')].filter((part) =>
        !(part.getAttribute('aria-label') || part.getAttribute('aria-labelledby') || part.textContent.trim())).length";
    assert_eq!(browser.run(unnamed), 0);
    assert_eq!(browser.console(), Vec::<String>::new());
    // The console is really listened to.
    browser.run("console.error('heard')");
    assert_eq!(browser.console().len(), 1);
    let ids = "const ids = [...document.querySelectorAll('[id]')].map((part) => part.id); return ids.length - new Set(ids).size";
    assert_eq!(browser.run(ids), 0);
}

#[test]
fn text_stands_out_from_its_ground_in_light_and_in_dark() {
    let Some((browser, _folder, _)) = opened(20) else { return };
    let least = "
        const parse = (text) => text.match(/[\\d.]+/g).map(Number);
        const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
          .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
        const ground = (part) => {
          for (; part; part = part.parentElement) {
            const color = parse(getComputedStyle(part).backgroundColor);
            if (color.length < 4 || color[3] === 1) return color;
          }
          return [255, 255, 255];
        };
        let least = [99, ''];
        for (const part of document.querySelectorAll('h1, h2, h3, p, td, th, dt, dd, small, li, button, code, .quiet, .verdict, text')) {
          const style = getComputedStyle(part);
          const ink = light(parse(part.tagName === 'text' ? style.fill : style.color));
          const paper = light(ground(part));
          const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
          if (ratio < least[0]) least = [ratio, part.outerHTML.slice(0, 120)];
        }
        return least";
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        let found = browser.run(least);
        assert!(found[0].as_f64().unwrap() >= 4.5, "{scheme}: {found}");
        grounds.push(browser.run("return getComputedStyle(document.body).backgroundColor"));
    }
    assert_ne!(grounds[0], grounds[1]);
    // The switch overrides what the system prefers.
    browser.run("document.getElementById('theme').click()");
    assert_eq!(browser.run("return getComputedStyle(document.body).backgroundColor"), grounds[0]);
}

#[test]
fn a_report_of_two_thousand_nodes_opens_in_two_seconds() {
    let Some((browser, _folder, file)) = opened(2000) else { return };
    let bytes = std::fs::metadata(&file).unwrap().len();
    // The best of three: other work on the machine is not the page's fault.
    let opening = || {
        browser.open(&file);
        browser.run("return performance.getEntriesByType('navigation')[0].loadEventEnd").as_f64().unwrap()
    };
    let milliseconds = (0..3).map(|_| opening()).fold(f64::INFINITY, f64::min);
    eprintln!("{bytes} bytes, loaded in {milliseconds:.0} ms");
    assert!(bytes < 3_000_000, "{bytes}");
    assert!(milliseconds < 2_000.0, "{milliseconds} ms");
    assert_eq!(browser.console(), Vec::<String>::new());
}

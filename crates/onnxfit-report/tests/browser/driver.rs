//! A browser for tests: ChromeDriver, spoken to over its HTTP interface.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// The key under which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A headless Chromium with one window.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    /// Starts one; `None` where no ChromeDriver is installed.
    pub(crate) fn start() -> Option<Self> {
        let mut driver =
            Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, after) = line.split_once("successfully on port ")?;
            after.trim_end_matches('.').parse().ok()
        });
        // Nobody reads the rest; the pipe must not fill up.
        std::thread::spawn(move || lines.for_each(drop));
        let mut browser = Self { driver, port: port.expect("ChromeDriver names its port"), session: String::new() };
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1280,900",
        ];
        let answer = browser.post(
            "/session",
            &json!({"capabilities": {"alwaysMatch": {
                "goog:chromeOptions": {"args": arguments},
                "goog:loggingPrefs": {"browser": "ALL"},
            }}}),
        );
        browser.session = answer["sessionId"].as_str().expect("a session has an id").to_owned();
        Some(browser)
    }

    pub(crate) fn open(&self, file: &Path) {
        self.command("/url", &json!({"url": format!("file://{}", file.display())}));
    }

    /// What a script returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.command("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Presses keys, one after the other.
    pub(crate) fn press(&self, keys: &[&str]) {
        let strokes = keys
            .iter()
            .flat_map(|key| [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})]);
        self.act(json!({"type": "key", "id": "keys", "actions": strokes.collect::<Vec<_>>()}));
    }

    /// Moves the pointer over an element, to a distance from its middle.
    pub(crate) fn hover(&self, selector: &str, x: i64, y: i64) {
        self.act(json!({"type": "pointer", "id": "mouse", "actions": [self.moved(selector, x, y)]}));
    }

    /// Drags from one distance from the middle of an element to another.
    pub(crate) fn drag(&self, selector: &str, from_x: i64, to_x: i64) {
        let actions = json!([
            self.moved(selector, from_x, 0), {"type": "pointerDown", "button": 0},
            self.moved(selector, to_x, 0), {"type": "pointerUp", "button": 0},
        ]);
        self.act(json!({"type": "pointer", "id": "mouse", "actions": actions}));
    }

    /// Turns the wheel over the middle of an element; negative is away from the user.
    pub(crate) fn wheel(&self, selector: &str, delta_y: i64) {
        let turn = json!({
            "type": "scroll", "x": 0, "y": 0, "deltaX": 0, "deltaY": delta_y, "origin": {ELEMENT: self.find(selector)},
        });
        self.act(json!({"type": "wheel", "id": "wheel", "actions": [turn]}));
    }

    pub(crate) fn prefer(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        let call = json!({"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}});
        self.command("/goog/cdp/execute", &call);
    }

    /// What the console has said since this was last asked.
    pub(crate) fn console(&self) -> Vec<String> {
        let entries = self.command("/se/log", &json!({"type": "browser"}));
        entries.as_array().unwrap().iter().map(ToString::to_string).collect()
    }

    fn moved(&self, selector: &str, x: i64, y: i64) -> Value {
        // A pointer reaches only what the window shows.
        self.run(&format!("document.querySelector('{selector}').scrollIntoView({{block: 'center'}})"));
        json!({"type": "pointerMove", "duration": 0, "x": x, "y": y, "origin": {ELEMENT: self.find(selector)}})
    }

    fn find(&self, selector: &str) -> Value {
        self.command("/element", &json!({"using": "css selector", "value": selector}))[ELEMENT].clone()
    }

    fn act(&self, actions: Value) {
        self.command("/actions", &json!({"actions": [actions]}));
    }

    fn command(&self, path: &str, body: &Value) -> Value {
        self.post(&format!("/session/{}{path}", self.session), body)
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.request("POST", path, &body.to_string())
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("ChromeDriver listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            answer.read_line(&mut line).unwrap();
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().unwrap()
                }
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        let mut text = vec![0; length];
        answer.read_exact(&mut text).unwrap();
        let answer: Value = serde_json::from_slice(&text).unwrap();
        assert!(answer["value"]["error"].is_null(), "{method} {path}: {}", answer["value"]);
        answer["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A test that failed leaves no browser behind either; what goes wrong here is not its fault.
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            let head = format!("DELETE /session/{} HTTP/1.1\r\nHost: localhost\r\n", self.session);
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let _ = write!(stream, "{head}Connection: close\r\nContent-Length: 0\r\n\r\n");
            let _ = BufReader::new(stream).read_line(&mut String::new());
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

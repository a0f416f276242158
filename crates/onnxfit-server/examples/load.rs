//! `onnxfit serve` under load beside the session called directly: `cargo xtask serve` puts what this
//! prints into `results/serve.md`.
//!
//! `load COMMAND [SECONDS]` makes its models, starts `COMMAND serve`, and lets 1, 4 and 16 callers
//! ask as fast as they are answered, each over a connection that it keeps, tensors as binary data.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use onnxfit::runtime::{Library, Session, Tensor, Tensors, locate};
use onnxfit::{Model, Provider, Quiet, Request, session_spec, write_runnable};
use onnxfit_onnx::text;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const CALLERS: [usize; 3] = [1, 4, 16];
const THREADS: u32 = 2;

/// A model, the rows of a request, and the floats of a row.
struct Case {
    name: &'static str,
    source: &'static str,
    rows: u64,
    row: u64,
    what: &'static str,
}

const CASES: &[Case] = &[
    Case {
        name: "relu",
        source: "g (float[batch, 64] x) => (float[batch, 64] y) { y = Relu(x) }",
        rows: 1,
        row: 64,
        what: "nothing to compute, 256 bytes",
    },
    Case {
        name: "large",
        source: "g (float[batch, 65536] x) => (float[batch, 65536] y) { y = Relu(x) }",
        rows: 4,
        row: 65536,
        what: "nothing to compute, 1 MiB in and out",
    },
    Case {
        name: "mlp",
        source: "g (float[batch, 64] x) => (float[batch, 8] y) <float[64, 4096] v, float[4096, 8] w> {
            a = MatMul(x, v)
            b = Tanh(a)
            y = MatMul(b, w)
        }",
        rows: 16,
        row: 64,
        what: "64 to 4096 to 8, 16 rows",
    },
    Case {
        name: "deep",
        source: "g (float[batch, 512] x) => (float[batch, 8] y)
          <float[512, 2048] v, float[2048, 2048] u, float[2048, 8] w> {
            a = MatMul(x, v)
            b = Relu(a)
            c = MatMul(b, u)
            d = Relu(c)
            y = MatMul(d, w)
        }",
        rows: 16,
        row: 512,
        what: "512 to 2048 to 2048 to 8, 16 rows",
    },
];

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let command = PathBuf::from(arguments.next().ok_or("give the command `onnxfit`")?);
    let seconds: f64 = arguments.next().map_or(Ok(4.0), |text| text.parse())?;
    let folder = std::env::temp_dir().join(format!("onnxfit-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = all(&command, seconds, &folder);
    let _ = std::fs::remove_dir_all(&folder);
    measured
}

fn all(command: &Path, seconds: f64, folder: &Path) -> Result<(), Failure> {
    let models = CASES.iter().map(|case| made(case, folder)).collect::<Result<Vec<_>, _>>()?;
    let found = locate::find(&locate::Places::of_this_process());
    let library = Library::load(found.library().ok_or("no ONNX Runtime was found")?)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "| model | way | requests/s | of direct | p50, ms | p90, ms | p99, ms | p99.9, ms |")?;
    writeln!(out, "|---|---|---:|---:|---:|---:|---:|---:|")?;
    let server = Server::start(command, &models)?;
    for (case, model) in CASES.iter().zip(&models) {
        let mut request = Request::new(Provider::Cpu);
        request.n_threads = THREADS;
        let mut session = Session::open(library, &session_spec(model.file().path(), &request))?;
        let inputs = inputs(case)?;
        let want = session.run(&inputs)?;
        let want = want.get("y").and_then(Tensor::bytes).ok_or("the model answers `y`")?;
        let mut took = Vec::new();
        let began = Instant::now();
        while began.elapsed().as_secs_f64() < seconds {
            let one = Instant::now();
            session.run(&inputs)?;
            took.push(one.elapsed());
        }
        let direct = took.len() as f64 / began.elapsed().as_secs_f64();
        row(&mut out, case, "the session, one caller", direct, direct, took)?;
        drop(session);
        let question: Arc<[u8]> = question(case, &inputs, &server.address)?.into();
        // The twin has its first look at the sizes that batches will have.
        asked(&server.address, &question, want, CALLERS[CALLERS.len() - 1], seconds / 4.0)?;
        for n_callers in CALLERS {
            let (rate, took) = asked(&server.address, &question, want, n_callers, seconds)?;
            row(&mut out, case, &format!("served, {n_callers} callers"), rate, direct, took)?;
        }
    }
    drop(server);
    Ok(())
}

fn row(
    out: &mut impl Write,
    case: &Case,
    way: &str,
    rate: f64,
    direct: f64,
    mut took: Vec<Duration>,
) -> std::io::Result<()> {
    took.sort();
    let at = |share: f64| {
        let at = ((took.len() as f64 * share) as usize).min(took.len().saturating_sub(1));
        took.get(at).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    };
    writeln!(
        out,
        "| `{}`: {} | {way} | {rate:.0} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
        case.name,
        case.what,
        rate / direct,
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999)
    )?;
    out.flush()
}

fn made(case: &Case, folder: &Path) -> Result<Model, Failure> {
    let bare = folder.join(format!("{}.bare.onnx", case.name));
    std::fs::write(&bare, prost::Message::encode_to_vec(&text::parse(case.source)?))?;
    Ok(write_runnable(&Model::open(&bare)?, 7, &folder.join(format!("{}.onnx", case.name)), &Quiet)?)
}

fn inputs(case: &Case) -> Result<Tensors, Failure> {
    let values: Vec<f32> = (0..case.rows * case.row).map(|at| ((at * 37 % 1013) as f32 - 506.0) / 506.0).collect();
    Ok([("x".to_owned(), Tensor::from_f32(vec![case.rows, case.row], &values)?)].into_iter().collect())
}

/// A request of HTTP, whole.
fn question(case: &Case, inputs: &Tensors, address: &str) -> Result<Vec<u8>, Failure> {
    let bytes = inputs.get("x").and_then(Tensor::bytes).ok_or("there is an input `x`")?;
    let json = format!(
        r#"{{"inputs":[{{"name":"x","shape":[{},{}],"datatype":"FP32","parameters":{{"binary_data_size":{}}}}}],"parameters":{{"binary_data_output":true}}}}"#,
        case.rows,
        case.row,
        bytes.len()
    );
    let mut question = format!(
        "POST /v2/models/{}/infer HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\
         Inference-Header-Content-Length: {}\r\n\r\n{json}",
        case.name,
        json.len() + bytes.len(),
        json.len()
    )
    .into_bytes();
    question.extend_from_slice(bytes);
    Ok(question)
}

/// So many callers for so long: answers a second, and how long each took. Every answer is held
/// against what the session answers.
fn asked(
    address: &str,
    question: &Arc<[u8]>,
    want: &[u8],
    n_callers: usize,
    seconds: f64,
) -> Result<(f64, Vec<Duration>), Failure> {
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(seconds);
    let threads: Vec<_> = (0..n_callers)
        .map(|_| {
            let (address, question, want) = (address.to_owned(), Arc::clone(question), want.to_vec());
            std::thread::spawn(move || caller(&address, &question, &want, until))
        })
        .collect();
    let mut all = Vec::new();
    for thread in threads {
        all.extend(thread.join().map_err(|_| "a caller panicked")??);
    }
    Ok((all.len() as f64 / began.elapsed().as_secs_f64(), all))
}

fn caller(address: &str, question: &[u8], want: &[u8], until: Instant) -> Result<Vec<Duration>, Failure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(64 << 10, stream.try_clone()?);
    let mut took = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        stream.write_all(question)?;
        let (json, body) = answer(&mut reader)?;
        took.push(began.elapsed());
        // A batch may add up in another order than a request alone.
        if !alike(body.get(json..).ok_or("the answer is shorter than its header says")?, want) {
            return Err("an answer is not the session's".into());
        }
    }
    Ok(took)
}

/// An answer of HTTP: how much of its body is JSON, and the body.
fn answer(reader: &mut impl BufRead) -> Result<(usize, Vec<u8>), Failure> {
    let (mut length, mut json, mut status) = (0, 0, String::new());
    let mut line = String::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let text = line.trim_end();
        if status.is_empty() {
            status = text.to_owned();
        } else if text.is_empty() {
            break;
        } else if let Some((name, value)) = text.split_once(':') {
            match name.to_lowercase().as_str() {
                "content-length" => length = value.trim().parse()?,
                "inference-header-content-length" => json = value.trim().parse()?,
                _ => {}
            }
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    if !status.contains(" 200 ") {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
    }
    Ok((json, body))
}

fn alike(have: &[u8], want: &[u8]) -> bool {
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    have.len() == want.len()
        && (have == want
            || floats(have)
                .iter()
                .zip(floats(want))
                .all(|(have, want)| (have - want).abs() <= 1e-4 * want.abs().max(1.0)))
}

/// The server; ended when dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(command: &Path, models: &[Model]) -> Result<Self, Failure> {
        let mut child = Command::new(command)
            .arg("serve")
            .args(models.iter().map(|model| model.file().path()))
            .args(["--provider", "cpu", "--http-port", "0", "--no-grpc", "--reload-every", "0"])
            .args(["--threads", &THREADS.to_string()])
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().ok_or("the pipe that was asked for")?;
        let mut server = Self { child, address: String::new() };
        let mut lines = BufReader::new(stderr).lines();
        for line in lines.by_ref() {
            let line = line?;
            if let Some((_, rest)) = line.split_once("HTTP on http://") {
                server.address = rest.split([';', ',']).next().unwrap_or_default().to_owned();
            }
            if line == "ready" {
                // Whoever does not read what it says would stop it in the end.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(server);
            }
        }
        Err("the server did not start".into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

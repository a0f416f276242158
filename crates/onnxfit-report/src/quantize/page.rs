//! The answer as one HTML file: no network, no script.

use std::io::{self, Write};

use super::QuantizeView;
use crate::html::Escaped;

/// Writes the whole page.
pub fn write_html(out: &mut impl Write, view: &QuantizeView) -> io::Result<()> {
    let name = view.model.rsplit(['/', '\\']).next().unwrap_or(&view.model);
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         img-src data:\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{} quantized – onnxfit</title>\n<style>\n{}</style>\n</head>\n\
         <body>\n<main id=\"main\">\n<h1>{}</h1>\n",
        Escaped(name),
        include_str!("../html/page.css"),
        Escaped(name)
    )?;
    let mut text = Vec::new();
    super::write_text(&mut text, view)?;
    writeln!(out, "<section><h2>Summary</h2><pre>{}</pre></section>", Escaped(String::from_utf8_lossy(&text)))?;
    curve(out, view)?;
    writeln!(
        out,
        "<section><h2>Layers</h2><table><thead><tr><th>layer</th><th>operator</th><th>weights</th><th>level</th>\
         <th>{} alone</th><th>why</th></tr></thead><tbody>",
        Escaped(view.error_name)
    )?;
    for layer in &view.layers {
        let alone = layer.error_alone.map_or_else(|| "–".to_owned(), |error| format!("{error:.3e}"));
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{alone}</td><td>{}</td></tr>",
            Escaped(&layer.name),
            Escaped(&layer.op_type),
            layer.n_weights,
            layer.level,
            Escaped(&layer.reason)
        )?;
    }
    writeln!(out, "</tbody></table></section>\n</main>\n</body>\n</html>")
}

/// Size against error as a drawing: a point for each model that was tried.
fn curve(out: &mut impl Write, view: &QuantizeView) -> io::Result<()> {
    const WIDTH: f64 = 640.0;
    const HEIGHT: f64 = 240.0;
    const EDGE: f64 = 40.0;
    let points: Vec<(f64, f64, bool)> = view
        .curve
        .iter()
        .filter(|point| point.error.is_finite())
        .map(|point| (point.size_bytes.0.get() as f64, point.error.max(1e-9).log10(), point.agrees))
        .collect();
    if points.len() < 2 {
        return Ok(());
    }
    let bounds = |numbers: &mut dyn Iterator<Item = f64>| {
        numbers.fold((f64::MAX, f64::MIN), |(low, high), number| (low.min(number), high.max(number)))
    };
    let (left, right) = bounds(&mut points.iter().map(|point| point.0));
    let (low, high) = bounds(&mut points.iter().map(|point| point.1));
    let x = |size: f64| EDGE + (size - left) / (right - left).max(1.0) * (WIDTH - 2.0 * EDGE);
    let y = |error: f64| HEIGHT - EDGE - (error - low) / (high - low).max(1e-9) * (HEIGHT - 2.0 * EDGE);
    writeln!(
        out,
        "<section><h2>Size against error</h2><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"size against error\">"
    )?;
    for (size, error, agrees) in &points {
        let fill = if *agrees { "currentColor" } else { "none" };
        writeln!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\" fill=\"{fill}\" stroke=\"currentColor\"/>",
            x(*size),
            y(*error)
        )?;
    }
    writeln!(
        out,
        "<text x=\"{EDGE}\" y=\"{:.0}\" fill=\"currentColor\">size, from the smallest</text>\
         <text x=\"{EDGE}\" y=\"20\" fill=\"currentColor\">{}, logarithmic; filled: the gate holds</text></svg></section>",
        HEIGHT - 10.0,
        Escaped(view.error_name)
    )
}

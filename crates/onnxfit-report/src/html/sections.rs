//! The parts of the page that need no script.

use std::io::{self, Write};

use onnxfit_base::Bytes;

use super::data::Chart;
use super::escape::Breakable;
use super::{Escaped, MeasuredView, ReportView, badge};
use crate::DiagnosticView;
use crate::Size;
use crate::blame::LayerView;
use crate::check::{BandView, CheckView, Verdict};
use crate::fix::{AlternativeView, FixView};

/// Tensors listed before the rest is summed.
const OWNERS_SHOWN_MAX: usize = 25;

/// The model's name, the verdict, the switch between light and dark.
pub(super) fn header(out: &mut impl Write, report: &ReportView<'_>, model: &str) -> io::Result<()> {
    let check = report.check;
    let dims: Vec<String> = check.dims.iter().map(|(name, size)| format!("{name} = {size}")).collect();
    let fitted = report.fix.and_then(|fix| fix.chosen.as_ref()).filter(|_| check.verdict == Verdict::DoesNotFit);
    let (mut sign, mut class) = badge(fitted.map_or(check.verdict, |chosen| chosen.verdict));
    let said = match (fitted, report.measured) {
        (Some(chosen), _) => format!("{} with the plan", chosen.verdict.text()),
        (None, Some(measured)) if check.verdict == Verdict::Unknown => {
            (sign, class) = if measured.is_as_predicted() { ("✓", "good") } else { ("≈", "unsure") };
            measured.text()
        }
        (None, None) if check.verdict == Verdict::Unknown && check.target.budget_bytes.is_none() => {
            "no target named".to_owned()
        }
        _ => check.verdict.text().to_owned(),
    };
    writeln!(out, "<a class=\"skip\" href=\"#main\">Skip to the report</a>\n<header>\n<div>")?;
    writeln!(out, "<h1>{}</h1>", Escaped(model))?;
    writeln!(
        out,
        "<p class=\"quiet\">{} nodes{}{} · {} provider</p>",
        check.n_nodes,
        if dims.is_empty() { "" } else { " · " },
        Escaped(dims.join(", ")),
        Escaped(&check.target.provider)
    )?;
    writeln!(out, "</div>\n<div class=\"side\">")?;
    writeln!(
        out,
        "<p class=\"verdict {class}\"><span aria-hidden=\"true\">{sign}</span> {}{}</p>",
        Escaped(said),
        if check.target.name.is_empty() { String::new() } else { format!(" · {}", Escaped(&check.target.name)) }
    )?;
    writeln!(out, "<button type=\"button\" id=\"theme\" hidden>Dark</button>\n</div>\n</header>")
}

/// The numbers that matter, and what the peak is made of.
pub(super) fn summary(out: &mut impl Write, report: &ReportView<'_>) -> io::Result<()> {
    let check = report.check;
    let band = &check.device_peak_bytes;
    writeln!(out, "<section aria-label=\"Summary\">\n<dl class=\"cards\">")?;
    let mut card = |name: &str, value: String, note: String| {
        writeln!(
            out,
            "<div><dt>{}</dt><dd>{}<small>{}</small></dd></div>",
            Escaped(name),
            Escaped(value),
            Escaped(note)
        )
    };
    card("predicted peak", band.expected.to_string(), range(band))?;
    if let Some((predicted, measured)) = report.measured.and_then(MeasuredView::held) {
        card("measured peak", measured.to_string(), difference(predicted.0, measured.0))?;
    }
    if let Some(budget) = check.target.budget_bytes {
        let what = check.target.gpu.clone().unwrap_or_default();
        card("what there is", budget.to_string(), what)?;
        if band.expected <= budget {
            card("left", (budget.0 - band.expected.0).to_string(), "at the peak, if it is as expected".to_owned())?;
        } else {
            card("missing", (band.expected.0 - budget.0).to_string(), "on a device without bounds".to_owned())?;
        }
    }
    if let Some(failure) = &check.failure {
        let at = if failure.node.is_empty() {
            "while loading".to_owned()
        } else {
            format!("at {} ({})", failure.node, failure.op_type)
        };
        card("fails asking for", failure.requested_bytes.to_string(), at)?;
    } else if !check.peak.op_type.is_empty() {
        card("most in use at", check.peak.op_type.clone(), check.peak.node.clone())?;
    }
    if let Some(chosen) = report.fix.and_then(|fix| fix.chosen.as_ref()) {
        card("peak with the plan", chosen.peak_bytes.expected.to_string(), range(&chosen.peak_bytes))?;
    }
    writeln!(out, "</dl>")?;
    breakdown(out, check)?;
    if let Some(failure) = &check.failure {
        writeln!(out, "<p>ONNX Runtime will say:</p><pre>{}</pre>", Escaped(&failure.message))?;
    }
    writeln!(out, "</section>")
}

fn range(band: &BandView) -> String {
    if band.low == band.high { String::new() } else { format!("{} to {}", band.low, band.high) }
}

fn breakdown(out: &mut impl Write, check: &CheckView) -> io::Result<()> {
    let total = check.device_peak_bytes.expected.0;
    let parts = [
        ("weights", "weights", check.breakdown.weights_bytes),
        ("activations", "activations", check.breakdown.activations_bytes),
        ("workspace", "workspace", check.breakdown.workspace_bytes),
        ("slack", "held by the arena, unused", check.breakdown.arena_slack_bytes),
        ("context", "context and code", check.breakdown.context_bytes),
    ];
    let parts: Vec<_> = parts.into_iter().filter(|(_, _, size)| size.0 > Bytes::ZERO).collect();
    writeln!(out, "<div class=\"stack\" aria-hidden=\"true\">")?;
    for (class, _, size) in &parts {
        writeln!(out, "<i class=\"k-{class}\" style=\"flex-grow:{:.4}\"></i>", 100.0 * size.0.ratio_to(total))?;
    }
    writeln!(out, "</div>\n<ul class=\"legend\" aria-label=\"What the predicted peak is made of\">")?;
    for (class, name, size) in &parts {
        writeln!(
            out,
            "<li><i class=\"k-{class}\" aria-hidden=\"true\"></i>{name} <b>{size}</b> <span class=\"quiet\">{}</span></li>",
            percent(size.0, total)
        )?;
    }
    writeln!(out, "</ul>")
}

/// The plan that was chosen beside what else was weighed.
pub(super) fn plan(out: &mut impl Write, fix: &FixView) -> io::Result<()> {
    writeln!(out, "<section aria-labelledby=\"h-plan\">\n<h2 id=\"h-plan\">Plan</h2>")?;
    match &fix.chosen {
        Some(chosen) if chosen.changes.is_empty() && chosen.verdict == Verdict::Fits => {
            writeln!(out, "<p>Run it as it is.</p>")?
        }
        Some(chosen) if chosen.changes.is_empty() => {
            writeln!(out, "<p>Nothing that was tried fits for certain: as it is it comes nearest.</p>")?
        }
        Some(chosen) => {
            writeln!(out, "<ul>")?;
            for change in &chosen.changes {
                writeln!(out, "<li>{}</li>", Escaped(change))?;
            }
            writeln!(out, "</ul>")?;
        }
        None => writeln!(out, "<p><strong>No plan:</strong> {}</p>", Escaped(&fix.stop_reason))?,
    }
    let budget = fix.target.budget_bytes.map(|budget| budget.0);
    let all = fix.chosen.iter().chain(&fix.alternatives);
    let most = all.clone().map(|other| other.peak_bytes.high.0).filter(|bytes| bytes.get() < u64::MAX);
    let scale = most.chain(budget).max().unwrap_or_default();
    table(
        out,
        "Plans side by side",
        &["", "changes", "answers", "runs", "#peak", "peak against the memory there is", "verdict"],
    )?;
    for (index, other) in all.enumerate() {
        alternative(out, other, index == 0 && fix.chosen.is_some(), scale, budget)?;
    }
    writeln!(out, "</tbody></table></div>")?;
    writeln!(out, "<p class=\"quiet\">The search ended because: {}.</p>", Escaped(&fix.stop_reason))?;
    proof(out, fix)?;
    if !fix.instances.is_empty() {
        writeln!(
            out,
            "<h3>Instances that hold it as it is</h3>\n<p class=\"quiet\">On a device with bounds the arena takes less than the peak above.</p>"
        )?;
        table(out, "Instances", &["type", "GPU", "#memory", "#on demand", "price of"])?;
        for instance in &fix.instances {
            let price = instance.usd_per_hour.map_or_else(|| "no price".to_owned(), |usd| format!("${usd:.3}/h"));
            row(
                out,
                &[
                    (&instance.name, false),
                    (&instance.gpu, false),
                    (&instance.budget_bytes.to_string(), true),
                    (&price, true),
                    (&instance.price_basis, false),
                ],
            )?;
        }
        writeln!(out, "</tbody></table></div>")?;
    }
    if !fix.files.is_empty() {
        writeln!(out, "<p>Written: {}</p>", Escaped(fix.files.join(", ")))?;
    }
    writeln!(out, "</section>")
}

fn alternative(
    out: &mut impl Write,
    view: &AlternativeView,
    is_chosen: bool,
    scale: Bytes,
    budget: Option<Bytes>,
) -> io::Result<()> {
    let (sign, class) = badge(view.verdict);
    let changes = if view.changes.is_empty() { "as it is".to_owned() } else { view.changes.join("; ") };
    let place = |bytes: Bytes| (100.0 * bytes.ratio_to(scale)).clamp(0.0, 100.0);
    let (low, high) = (place(view.peak_bytes.low.0), place(view.peak_bytes.high.0));
    writeln!(
        out,
        "<tr{}><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td>",
        if is_chosen { " class=\"chosen\"" } else { "" },
        if is_chosen { "chosen" } else { "" },
        Escaped(changes),
        view.accuracy,
        view.n_runs,
        view.peak_bytes.expected
    )?;
    write!(
        out,
        "<td><svg class=\"bar\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{} to {}{}\">\
         <rect class=\"peak\" x=\"0\" y=\"2\" width=\"{:.2}\" height=\"6\"/>\
         <rect class=\"band\" x=\"{low:.2}\" y=\"3.5\" width=\"{:.2}\" height=\"3\"/>",
        view.peak_bytes.low,
        view.peak_bytes.high,
        budget.map_or_else(String::new, |budget| format!(", there is {budget}")),
        place(view.peak_bytes.expected.0),
        (high - low).max(0.5)
    )?;
    if let Some(budget) = budget {
        let x = place(budget).min(99.5);
        write!(out, "<line x1=\"{x:.2}\" x2=\"{x:.2}\" y1=\"0\" y2=\"10\" vector-effect=\"non-scaling-stroke\"/>")?;
    }
    writeln!(
        out,
        "</svg></td><td class=\"{class}\"><span aria-hidden=\"true\">{sign}</span> {}</td></tr>",
        view.verdict.text()
    )
}

fn proof(out: &mut impl Write, fix: &FixView) -> io::Result<()> {
    let Some(verify) = &fix.verify else { return Ok(()) };
    let says = if verify.agrees { "✓ Proved" } else { "✕ Not the same answer" };
    writeln!(out, "<h3>{says}</h3>\n<p>{}; tolerance: {}</p>", Escaped(&verify.how), Escaped(&verify.tolerance))?;
    table(out, "Output by output", &["output", "#max abs error", "#relative L2", "#cosine", "#top-1", "problem"])?;
    for output in &verify.outputs {
        let top1 = output.top1_agreement.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", 100.0 * share));
        row(
            out,
            &[
                (&output.name, false),
                (&format!("{:.2e}", output.max_absolute_error), true),
                (&format!("{:.2e}", output.relative_l2), true),
                (&format!("{:.6}", output.cosine), true),
                (&top1, true),
                (output.problem.as_deref().unwrap_or("none"), false),
            ],
        )?;
    }
    writeln!(out, "</tbody></table></div>")
}

/// Room for the charts; the script fills it.
pub(super) fn timelines(out: &mut impl Write, charts: &[Chart<'_>]) -> io::Result<()> {
    if charts.is_empty() {
        return Ok(());
    }
    writeln!(out, "<section aria-labelledby=\"h-time\">\n<h2 id=\"h-time\">Memory over the run</h2>")?;
    writeln!(
        out,
        "<p class=\"quiet print-hide\">Point at a step, or focus the chart and press <kbd>←</kbd> <kbd>→</kbd> to walk, \
         <kbd>P</kbd> for the peak, <kbd>+</kbd> <kbd>−</kbd> <kbd>0</kbd> to zoom. The wheel zooms, a drag selects.</p>"
    )?;
    writeln!(out, "<noscript><p>The timeline needs JavaScript; everything else on this page does not.</p></noscript>")?;
    for (index, chart) in charts.iter().enumerate() {
        writeln!(out, "<div class=\"chart\" id=\"chart-{index}\">")?;
        if charts.len() > 1 {
            writeln!(out, "<h3>{}</h3>", Escaped(sentence(chart.title)))?;
        }
        writeln!(out, "</div>")?;
    }
    writeln!(out, "</section>")
}

/// Who is alive at the peak: tensors, then layers.
pub(super) fn owners(out: &mut impl Write, check: &CheckView) -> io::Result<()> {
    if check.peak.live.is_empty() {
        return Ok(());
    }
    let total: Bytes = check.peak.live.iter().map(|live| live.bytes.0).sum();
    writeln!(out, "<section aria-labelledby=\"h-peak\">\n<h2 id=\"h-peak\">Alive at the peak</h2>")?;
    let at = if check.peak.op_type.is_empty() {
        String::new()
    } else {
        format!(" at <code>{}</code> ({})", Escaped(&check.peak.node), Escaped(&check.peak.op_type))
    };
    writeln!(out, "<p>The arena has most in use{at}: {total}. {}.</p>", with_code(&sentence(&check.peak.dominant)))?;
    if !check.peak.block_node.is_empty() {
        writeln!(
            out,
            "<p class=\"quiet\">The memory pattern's block is held through the whole run; it counts as what lies in it \
             when it is fullest, at <code>{}</code>.</p>",
            Escaped(&check.peak.block_node)
        )?;
    }
    writeln!(out, "<div class=\"columns\">\n<div>\n<h3>Tensors</h3>")?;
    table(out, "Tensors alive at the peak, largest first", &["#bytes", "#share", "tensor", "made by"])?;
    for live in check.peak.live.iter().take(OWNERS_SHOWN_MAX) {
        let made_by = if live.producer.is_empty() { "–" } else { &live.producer };
        sized_row(out, live.bytes, total, &[&live.tensor, made_by])?;
    }
    if let Some(rest) = check.peak.live.get(OWNERS_SHOWN_MAX..).filter(|rest| !rest.is_empty()) {
        let bytes: Bytes = rest.iter().map(|live| live.bytes.0).sum();
        sized_row(out, bytes.into(), total, &[&format!("{} more", rest.len()), ""])?;
    }
    writeln!(
        out,
        "</tbody><tfoot><tr><td class=\"n\">{total}</td><td class=\"n\">100 %</td><td colspan=\"2\">in use</td></tr></tfoot></table></div>"
    )?;
    writeln!(
        out,
        "</div>\n<div>\n<h3>Layers</h3>\n<p class=\"quiet\">By name; the dark part is weights.</p>\n<div class=\"tree\">"
    )?;
    for layer in &check.peak.layers {
        layer_tree(out, layer, total, layer.bytes.0.get() * 4 > total.get())?;
    }
    writeln!(out, "</div>\n</div>\n</div>\n</section>")
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Escaped text in which what stands between backticks is code.
fn with_code(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(index, part)| {
        if index % 2 == 1 { format!("<code>{}</code>", Escaped(part)) } else { Escaped(part).to_string() }
    });
    parts.collect()
}

fn layer_tree(out: &mut impl Write, layer: &LayerView, total: Bytes, open: bool) -> io::Result<()> {
    let line = format!(
        "<span class=\"name\">{}</span><span class=\"n\">{}</span><span class=\"n\">{}</span>\
         <svg class=\"bar\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect class=\"peak\" y=\"1\" height=\"8\" width=\"{:.2}\"/><rect class=\"weights\" y=\"1\" height=\"8\" width=\"{:.2}\"/></svg>",
        Breakable(&layer.name),
        layer.bytes,
        percent(layer.bytes.0, total),
        100.0 * layer.bytes.0.ratio_to(total),
        100.0 * layer.weights_bytes.0.ratio_to(total)
    );
    if layer.layers.is_empty() {
        return writeln!(out, "<div class=\"line\">{line}</div>");
    }
    writeln!(out, "<details{}><summary class=\"line\">{line}</summary>", if open { " open" } else { "" })?;
    for inner in &layer.layers {
        layer_tree(out, inner, total, false)?;
    }
    writeln!(out, "</details>")
}

/// What each dimension does.
pub(super) fn growth(out: &mut impl Write, check: &CheckView) -> io::Result<()> {
    if check.growth.is_empty() {
        return Ok(());
    }
    writeln!(out, "<section aria-labelledby=\"h-growth\">\n<h2 id=\"h-growth\">What each dimension does</h2>")?;
    for dim in &check.growth {
        let limit = dim.limit_text();
        let heading = if limit.is_empty() { &dim.dim } else { &limit };
        writeln!(out, "<h3>{}</h3>\n<p>{}.</p>", Escaped(heading), Escaped(sentence(&dim.formula_text())))?;
        // Without a target nothing fits or fails to.
        let shown = if check.target.budget_bytes.is_some() { 4 } else { 3 };
        table(out, "Sizes that were replayed", &["#size", "#tensors", "#predicted peak", "fits"][..shown])?;
        for point in &dim.points {
            let fits = point.fits.map_or("–", |fits| if fits { "✓ yes" } else { "✕ no" });
            let cells = [
                (&*point.size.to_string(), true),
                (&*point.tensors_bytes.to_string(), true),
                (&*point.device_peak_bytes.to_string(), true),
                (fits, false),
            ];
            row(out, &cells[..shown])?;
        }
        writeln!(out, "</tbody></table></div>")?;
    }
    writeln!(out, "</section>")
}

/// Load and runs.
pub(super) fn arena(out: &mut impl Write, check: &CheckView) -> io::Result<()> {
    writeln!(out, "<section aria-labelledby=\"h-arena\">\n<h2 id=\"h-arena\">Arena</h2>")?;
    table(out, "The arena, run by run", &["", "#in use at most", "#held at its end"])?;
    let load = check.arena.load;
    row(out, &[("load", false), (&load.in_use_bytes.to_string(), true), (&load.total_bytes.to_string(), true)])?;
    for (index, run) in check.arena.runs.iter().enumerate() {
        row(
            out,
            &[
                (&format!("run {}", index + 1), false),
                (&run.peak_in_use_bytes.to_string(), true),
                (&run.total_bytes.to_string(), true),
            ],
        )?;
    }
    writeln!(out, "</tbody></table></div>\n</section>")
}

/// Measured against predicted.
pub(super) fn measured(out: &mut impl Write, measured: &MeasuredView) -> io::Result<()> {
    writeln!(out, "<section aria-labelledby=\"h-measured\">\n<h2 id=\"h-measured\">Measured against predicted</h2>")?;
    writeln!(out, "<p>{}</p>", Escaped(&measured.source))?;
    table(out, "Measured against predicted", &["", "#predicted", "#measured", "#difference"])?;
    for line in &measured.rows {
        let (predicted, real) = (line.predicted_bytes.0, line.measured_bytes.0);
        let difference = difference(predicted, real);
        row(
            out,
            &[(&line.name, false), (&predicted.to_string(), true), (&real.to_string(), true), (&difference, true)],
        )?;
    }
    writeln!(out, "</tbody></table></div>\n</section>")
}

/// How far a prediction is from what was measured.
fn difference(predicted: Bytes, real: Bytes) -> String {
    if predicted == real {
        return "equal".to_owned();
    }
    let sign = if predicted > real { "+" } else { "−" };
    let bytes = Bytes(predicted.get().abs_diff(real.get()));
    format!("{sign}{bytes} ({sign}{:.2} %)", 100.0 * bytes.ratio_to(real))
}

/// The options of the session, and where the report was made.
pub(super) fn settings(out: &mut impl Write, report: &ReportView<'_>) -> io::Result<()> {
    writeln!(out, "<section class=\"columns\" aria-label=\"Options and environment\">")?;
    for (title, rows) in [("Session options", report.check.settings.as_slice()), ("Environment", report.environment)] {
        if rows.is_empty() {
            continue;
        }
        writeln!(out, "<div>\n<h2>{title}</h2>")?;
        table(out, title, &["name", "value"])?;
        for (name, value) in rows {
            row(out, &[(name, false), (value, false)])?;
        }
        writeln!(out, "</tbody></table></div>\n</div>")?;
    }
    writeln!(out, "</section>")
}

/// What else has to be said.
pub(super) fn findings(out: &mut impl Write, report: &ReportView<'_>) -> io::Result<()> {
    let of_fix = report.fix.map_or(&[][..], |fix| &fix.diagnostics);
    let all: Vec<&DiagnosticView> = report.check.diagnostics.iter().chain(of_fix).collect();
    writeln!(out, "<section aria-labelledby=\"h-find\">\n<h2 id=\"h-find\">Findings</h2>")?;
    if all.is_empty() {
        return writeln!(out, "<p>None.</p>\n</section>");
    }
    writeln!(out, "<ul class=\"findings\">")?;
    for finding in all {
        write!(
            out,
            "<li class=\"{0}\"><b>{0}</b> <code>{1}</code> {2}",
            finding.severity,
            Escaped(&finding.id),
            with_code(&finding.message)
        )?;
        if let Some(hint) = &finding.hint {
            write!(out, "<br><span class=\"quiet\">{}</span>", with_code(hint))?;
        }
        writeln!(out, "</li>")?;
    }
    writeln!(out, "</ul>\n</section>")
}

/// Opens a table; a heading with `#` is over numbers.
fn table(out: &mut impl Write, caption: &str, headings: &[&str]) -> io::Result<()> {
    write!(
        out,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table><caption>{0}</caption><thead><tr>",
        Escaped(caption)
    )?;
    for heading in headings {
        match heading.strip_prefix('#') {
            Some(number) => write!(out, "<th scope=\"col\" class=\"n\">{number}</th>")?,
            None if heading.is_empty() => write!(out, "<td></td>")?,
            None => write!(out, "<th scope=\"col\">{heading}</th>")?,
        }
    }
    writeln!(out, "</tr></thead><tbody>")
}

fn row(out: &mut impl Write, cells: &[(&str, bool)]) -> io::Result<()> {
    write!(out, "<tr>")?;
    for (text, is_number) in cells {
        write!(out, "<td{}>{}</td>", if *is_number { " class=\"n\"" } else { "" }, Escaped(text))?;
    }
    writeln!(out, "</tr>")
}

fn sized_row(out: &mut impl Write, bytes: Size, total: Bytes, names: &[&str]) -> io::Result<()> {
    write!(out, "<tr><td class=\"n\">{bytes}</td><td class=\"n\">{}</td>", percent(bytes.0, total))?;
    for name in names {
        write!(out, "<td class=\"long\">{}</td>", Breakable(name))?;
    }
    writeln!(out, "</tr>")
}

fn percent(part: Bytes, whole: Bytes) -> String {
    if whole == Bytes::ZERO { "–".to_owned() } else { format!("{:.1} %", 100.0 * part.ratio_to(whole)) }
}

use super::*;

fn layer(name: &str, bytes: u64, layers: Vec<LayerView>) -> LayerView {
    LayerView { name: name.to_owned(), bytes: Bytes(bytes).into(), layers, ..LayerView::default() }
}

#[test]
fn an_outline_opens_the_largest_parts_and_keeps_the_sum() {
    let inner = vec![layer("0", 600, vec![layer("conv1", 400, vec![]), layer("conv2", 200, vec![])])];
    let layers = vec![layer("layer1", 600, inner), layer("fc", 100, vec![])];
    let lines = outline(&layers, 10);
    let text: Vec<String> = lines.iter().map(|line| format!("{}={}", line.name, line.bytes.0.0)).collect();
    assert_eq!(text, ["layer1/0/conv1=400", "layer1/0/conv2=200", "fc=100"]);
}

#[test]
fn a_formula_reads_as_a_sum() {
    let formula = FormulaView { constant_bytes: 3 << 20, linear_bytes: -1024, quadratic_bytes: 48, from: 1, to: 4 };
    assert_eq!(formula.text("seq"), "3.00 MiB − 1.00 KiB × seq + 48 B × seq²");
    assert_eq!(FormulaView::default().text("seq"), "0 B");
}

#[test]
fn the_limit_is_said_as_far_as_it_is_known() {
    let mut growth = GrowthView { dim: "batch".to_owned(), ..GrowthView::default() };
    assert_eq!(growth.limit_text(), "");
    growth.largest_that_fits = Some(911);
    assert_eq!(growth.limit_text(), "batch = 911 still fits");
    growth.smallest_that_does_not = Some(912);
    assert_eq!(growth.limit_text(), "batch ≤ 911 fits");
    growth.smallest_that_does_not = Some(1024);
    assert_eq!(growth.limit_text(), "batch = 911 fits, 1024 does not");
}

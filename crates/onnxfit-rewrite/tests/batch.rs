//! Which models may be cut along their batch, and why the others may not.

use std::path::PathBuf;

use expect_test::expect;
use onnxfit_graph::Model;
use onnxfit_onnx::{ModelFile, text};
use onnxfit_rewrite::batch::batch_split;

fn split(source: &str) -> String {
    let model = Model::from_proto(&text::parse(source).expect("the fixture parses")).expect("the fixture is a graph");
    match batch_split(&model, None) {
        Ok(split) => format!("{} in {:?} out {:?}", split.dim, split.inputs, split.outputs),
        Err(refusal) => refusal.to_string(),
    }
}

#[test]
fn rows_stay_apart_in_a_classifier() {
    expect![[r#"batch in {"x": 0} out {"y": 0}"#]].assert_eq(&split(
        "g (float[batch, 3, 8, 8] x) => (float[batch, 5] y) <float[4, 3, 3, 3] w, float[4, 5] v> {
            a = Conv(x, w)
            b = Relu(a)
            c = GlobalAveragePool(b)
            d = Flatten(c)
            e = MatMul(d, v)
            y = Softmax(e)
        }",
    ));
}

#[test]
fn a_reshape_through_the_shape_keeps_the_rows() {
    expect![[r#"batch in {"x": 0} out {"y": 0}"#]].assert_eq(&split(
        "g (float[batch, seq, 8] x) => (float[batch, seq, 8] y) <int64[1] zero = {0}, int64[2] tail = {2, 4}> {
            s = Shape(x)
            n = Gather(s, zero)
            one = Constant<value = int64[1] {1}>()
            t = Gather(s, one)
            h = Concat<axis = 0>(n, t, tail)
            a = Reshape(x, h)
            b = Transpose<perm = [0, 2, 1, 3]>(a)
            c = Softmax(b)
            d = Transpose<perm = [0, 2, 1, 3]>(c)
            y = Reshape(d, s)
        }",
    ));
}

#[test]
fn a_mean_over_the_batch_mixes_rows() {
    expect!["`m` (ReduceMean) reduces over the rows"].assert_eq(&split(
        "g (float[batch, 4] x) => (float[batch, 4] y) {
            m = ReduceMean<axes = [0], keepdims = 1>(x)
            y = Sub(x, m)
        }",
    ));
}

#[test]
fn a_product_of_rows_with_rows_mixes_them() {
    expect!["`y` (MatMul) multiplies rows with rows"].assert_eq(&split(
        "g (float[batch, 4] x) => (float[batch, batch] y) {
            t = Transpose(x)
            y = MatMul(x, t)
        }",
    ));
}

#[test]
fn scales_found_from_the_data_mix_rows() {
    expect!["`q` (DynamicQuantizeLinear) is not known to keep rows apart"].assert_eq(&split(
        "g (float[batch, 4] x) => (float[batch, 4] y) {
            q, s, z = DynamicQuantizeLinear(x)
            y = DequantizeLinear(q, s, z)
        }",
    ));
}

#[test]
fn a_division_by_the_number_of_rows_mixes_them() {
    expect!["`y` (Div) computes with the number of rows"].assert_eq(&split(
        "g (float[batch, 4] x) => (float[batch, 4] y) <int64[1] zero = {0}> {
            s = Shape(x)
            n = Gather(s, zero)
            f = Cast<to = 1>(n)
            y = Div(x, f)
        }",
    ));
}

#[test]
fn a_recurrent_net_has_its_rows_in_the_middle() {
    expect![[r#"batch in {"x": 1} out {"h": 1, "y": 2}"#]].assert_eq(&split(
        "g (float[seq, batch, 4] x) => (float[seq, 1, batch, 3] y, float[1, batch, 3] h)
           <float[1, 12, 4] w, float[1, 12, 3] r> {
            y, h, c = LSTM<hidden_size = 3>(x, w, r)
        }",
    ));
}

#[test]
fn real_architectures_are_judged() {
    let shared = std::env::var_os("ONNXFIT_SHARED").map_or_else(|| PathBuf::from("../../../shared"), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(shared.join("zoo/graphs")) else {
        eprintln!("skipped: no zoo beside the repository");
        return;
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    paths.sort();
    let mut n_split = 0;
    for path in &paths {
        let model = Model::from_proto(&ModelFile::open(path).expect("it opens").proto).expect("it is a graph");
        let name = path.file_stem().expect("it has a name").to_string_lossy();
        match batch_split(&model, None) {
            Ok(split) => {
                n_split += 1;
                println!("{name}: {} in {:?} out {:?}", split.dim, split.inputs, split.outputs);
            }
            Err(refusal) => println!("{name}: {refusal}"),
        }
    }
    println!("{n_split} of {} may be cut", paths.len());
    // A ratchet: what was proved once stays proved.
    assert!(n_split >= 44, "only {n_split} of {}", paths.len());
}

#[test]
fn rows_that_are_called_by_their_number_stay_apart() {
    expect![[r#"batch in {"i": 0, "x": 0} out {"y": 0}"#]].assert_eq(&split(
        "g (float[batch, 6] x, int64[batch, 3] i) => (float[batch, 3] y)
           <int64 first = {0}, int64 one = {1}, int64 zeroth = {0}, int64[2] column = {-1, 1}, int64[1] last = {-1}> {
            s = Shape(x)
            n = Gather(s, zeroth)
            r = Range(first, n, one)
            c = Reshape(r, column)
            t = Shape(i)
            e = Expand(c, t)
            u = Unsqueeze(e, last)
            v = Unsqueeze(i, last)
            p = Concat<axis = -1>(u, v)
            y = GatherND(x, p)
        }",
    ));
}

#[test]
fn a_sum_with_the_number_of_the_row_mixes_rows() {
    expect!["`y` (Add) computes with the numbers of rows"].assert_eq(&split(
        "g (int64[batch] x) => (int64[batch] y) <int64 first = {0}, int64 one = {1}, int64 zeroth = {0}> {
            s = Shape(x)
            n = Gather(s, zeroth)
            r = Range(first, n, one)
            y = Add(x, r)
        }",
    ));
}

#[test]
fn numbers_that_begin_elsewhere_mix_rows() {
    expect!["`r` (Range) counts further than the rows, or not one by one"].assert_eq(&split(
        "g (float[batch, 6] x) => (float[batch, 6] y)
           <int64 first = {1}, int64 one = {1}, int64 zeroth = {0}, int64[2] column = {-1, 1}> {
            s = Shape(x)
            n = Gather(s, zeroth)
            m = Add(n, one)
            r = Range(first, m, one)
            c = Reshape(r, column)
            y = GatherND(x, c)
        }",
    ));
}

#[test]
fn what_no_output_reads_may_mix_rows() {
    expect![[r#"batch in {"x": 0} out {"y": 0}"#]].assert_eq(&split(
        "g (float[batch, 4] x) => (float[batch, 4] y) {
            m = ReduceMean<axes = [0], keepdims = 1>(x)
            d = Sub(x, m)
            s = Shape(d)
            y = Reshape(x, s)
        }",
    ));
}

#[test]
fn a_size_that_all_rows_decide_mixes_them() {
    expect!["`z` (NonZero) is not known to keep rows apart"].assert_eq(&split(
        "g (float[batch, 4] x) => (float[batch, 4] y, float[n, m] w) {
            z = NonZero(x)
            s = Shape(z)
            w = ConstantOfShape(s)
            y = Relu(x)
        }",
    ));
}

#[test]
fn what_is_repeated_for_each_row_keeps_rows_apart() {
    expect![[r#"batch in {"x": 0} out {"y": 0}"#]].assert_eq(&split(
        "g (float[batch, 4] x) => (float[batch, 4] y) <float[1, 4] q, int64[1] zero = {0}, int64[1] one = {1}> {
            s = Shape(x)
            n = Gather(s, zero)
            r = Concat<axis = 0>(n, one)
            t = Tile(q, r)
            y = Add(x, t)
        }",
    ));
}

#[test]
fn a_branch_that_all_pieces_take_keeps_rows_apart_as_both_branches_do() {
    let source = |then_branch: &str, else_branch: &str| {
        split(&format!(
            "g (bool c, float[batch, 4] x) => (float[batch, 4] y) {{
                y = If (c) <
                    then_branch = t () => (float[batch, 4] p) {{ {then_branch} }},
                    else_branch = e () => (float[batch, 4] q) {{ {else_branch} }}
                >
            }}"
        ))
    };
    expect![[r#"batch in {"x": 0} out {"y": 0}"#]].assert_eq(&source("p = Relu(x)", "q = Neg(x)"));
    expect!["`y` (If) has a branch in which `m` (ReduceMean) reduces over the rows"]
        .assert_eq(&source("p = Relu(x)", "m = ReduceMean<axes = [0], keepdims = 1>(x) q = Sub(x, m)"));
    expect!["`y` (If) has branches that treat the rows differently"]
        .assert_eq(&source("p = Relu(x)", "q = Constant<value = float[1, 4] {1, 2, 3, 4}>()"));
    expect!["`y` (If) has a branch in which `q` (RandomNormalLike) is not known to keep rows apart"]
        .assert_eq(&source("p = Relu(x)", "q = RandomNormalLike(x)"));
}

#[test]
fn a_branch_that_the_number_of_rows_decides_mixes_them() {
    expect!["`c` (Equal) computes with the number of rows"].assert_eq(&split(
        "g (float[batch, 4] x) => (float[batch, 4] y) <int64 zeroth = {0}, int64 one = {1}> {
            s = Shape(x)
            n = Gather(s, zeroth)
            c = Equal(n, one)
            y = If (c) <
                then_branch = t () => (float[batch, 4] p) { p = Relu(x) },
                else_branch = e () => (float[batch, 4] q) { q = Neg(x) }
            >
        }",
    ));
}

/// The element of each row that is the greatest, in rows that `stride` says how far they are apart.
fn pooled(stride: &str, place: &str) -> String {
    split(&format!(
        "g (float[batch, seq] x, float[batch, seq, 4] h, int64[batch] i) => (float[batch, 4] y)
           <int64 first = {{0}}, int64 one = {{1}}, int64 zeroth = {{0}}, int64 two = {{2}}, int64[2] flat = {{-1, 4}}> {{
            s = Shape(x)
            n = Gather(s, zeroth)
            w = Gather(s, one)
            r = Range(first, n, one)
            m = Mul(r, {stride})
            a = ArgMax<axis = 1, keepdims = 0>(x)
            k = Add({place}, m)
            f = Reshape(h, flat)
            y = Gather(f, k)
        }}"
    ))
}

#[test]
fn an_element_of_each_row_is_found_by_its_number_among_all() {
    let apart = r#"batch in {"h": 0, "i": 0, "x": 0} out {"y": 0}"#;
    assert_eq!(pooled("w", "a"), apart);
    assert_ne!(pooled("two", "a"), apart, "rows are not two elements long");
    expect!["`k` (Add) adds to the numbers of rows what may lead to another row"].assert_eq(&pooled("w", "i"));
    expect!["`k` (Add) computes with the numbers of rows"].assert_eq(&pooled("w", "one"));
}

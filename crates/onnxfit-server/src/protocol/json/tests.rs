use super::*;

fn question(body: &str) -> Result<Question, String> {
    read(body.as_bytes(), None).map(|(question, _)| question).map_err(|refusal| refusal.message)
}

#[test]
fn nested_and_flat_numbers_are_the_same_tensor() {
    let flat = r#"{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[1,2.5,-3,4e1]}]}"#;
    let nested = r#"{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2.5],[-3,40]]}]}"#;
    let values = |body| question(body).expect("a request").inputs.get("x").and_then(Tensor::values);
    assert_eq!(values(flat), Some(vec![1.0, 2.5, -3.0, 40.0]));
    assert_eq!(values(flat), values(nested));
}

#[test]
fn large_whole_numbers_keep_every_digit() {
    let body =
        r#"{"inputs":[{"name":"x","shape":[2],"datatype":"INT64","data":[9007199254740993,-9223372036854775808]}]}"#;
    let question = question(body).expect("a request");
    let bytes = question.inputs.get("x").and_then(Tensor::bytes).expect("packed").to_vec();
    assert_eq!(bytes[..8], 9_007_199_254_740_993_i64.to_le_bytes());
    assert_eq!(bytes[8..], i64::MIN.to_le_bytes());
}

#[test]
fn raw_tensors_follow_the_json() {
    let header = r#"{"id":"7","inputs":[{"name":"x","shape":[1],"datatype":"INT32","parameters":{"binary_data_size":4}}],"outputs":[{"name":"y","parameters":{"binary_data":true}}]}"#;
    let body = [header.as_bytes(), &5i32.to_le_bytes()].concat();
    let (question, form) = read(&body, Some(header.len())).expect("a request");
    assert_eq!(question.inputs.get("x").and_then(Tensor::values), Some(vec![5.0]));
    let outputs: Tensors = [("y".to_owned(), Tensor::from_f32(vec![1], &[0.1]).expect("one"))].into_iter().collect();
    let (answer, length) = write("m", &question.id, &outputs, &form).expect("an answer");
    let length = length.expect("raw tensors follow");
    assert_eq!(answer[length..], 0.1f32.to_le_bytes());
    let told: Value = serde_json::from_slice(&answer[..length]).expect("JSON");
    assert_eq!(told["id"], "7");
    assert_eq!(told["outputs"][0]["parameters"]["binary_data_size"], 4);
}

#[test]
fn floats_are_written_with_their_own_digits() {
    let outputs: Tensors =
        [("y".to_owned(), Tensor::from_f32(vec![2], &[0.1, f32::NAN]).expect("two"))].into_iter().collect();
    let (answer, _) = write("m", "", &outputs, &Form::default()).expect("an answer");
    let told: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!(told["outputs"][0]["data"].to_string(), "[0.1,null]");
}

#[test]
fn wrong_requests_say_what_is_wrong() {
    let input = |rest: &str| question(&format!(r#"{{"inputs":[{{"name":"x",{rest}}}]}}"#)).expect_err("a refusal");
    let cases = [
        (r#""shape":[2],"datatype":"FP32","data":[1]"#, "needs 8 bytes, but has 4"),
        (r#""shape":[1],"datatype":"FP31","data":[1]"#, "no datatype `FP31`"),
        (r#""shape":[1],"datatype":"INT8","data":[300]"#, "300 is outside the range of int8"),
        (r#""shape":[1],"datatype":"INT8","data":[1.5]"#, "1.5 is no int8"),
        (r#""shape":[1],"datatype":"FP32","data":["a"]"#, "a text where a float is expected"),
        (r#""shape":[1],"datatype":"FP32""#, "has no `data`"),
        (r#""shape":[-1],"datatype":"FP32","data":[]"#, "invalid value"),
        (r#""shape":[4294967296,4294967296],"datatype":"FP32","data":[]"#, "larger than any memory"),
        (
            r#""shape":[1],"datatype":"FP32","parameters":{"binary_data_size":9}"#,
            "9 bytes of binary data, but 0 are left",
        ),
    ];
    for (rest, expected) in cases {
        let message = input(rest);
        assert!(message.contains(expected), "`{rest}` gave `{message}`");
    }
    let deep = format!(
        r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"FP32","data":{}1{}}}]}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    assert!(question(&deep).expect_err("too deep").contains("recursion limit"));
    assert!(question("{\"inputs\":").expect_err("cut off").contains("no inference request"));
}

use super::*;

fn shape(text: &str) -> Vec<Expr> {
    text.split_whitespace().map(|dim| Expr::parse(dim).unwrap()).collect()
}

fn shown(input: &str, output: &str) -> String {
    let lines = blocks(&shape(input), &shape(output)).into_iter().map(|block| {
        let factors: Vec<String> = block
            .factors
            .iter()
            .map(|factor| {
                let side = |side: &Option<Side>| {
                    side.as_ref().map_or("-".to_owned(), |side| format!("{}/{}", side.axis, side.stride))
                };
                format!("{}@{}:{}", factor.size, side(&factor.input), side(&factor.output))
            })
            .collect();
        format!("{:?}->{:?} {}", block.inputs, block.outputs, factors.join(" "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn heads_come_out_of_features_and_go_back() {
    let split = shown("b s 768", "b s 12 64");
    assert_eq!(split, "[0]->[0] \n[1]->[1] \n[2]->[2, 3] 12@2/64:2/1 64@2/1:3/1");
    assert_eq!(shown("b s 12 64", "b s 768"), "[0]->[0] \n[1]->[1] \n[2, 3]->[2] 12@2/1:2/64 64@3/1:2/1");
}

#[test]
fn a_size_that_is_not_fixed_hides_the_factors_in_it_but_not_those_beside_it() {
    assert_eq!(shown("s b 768", "s b*12 64"), "[0]->[0] \n[1, 2]->[1, 2] 64@2/1:2/1");
    assert_eq!(shown("n 64 h w", "n 8 8*h*w"), "[0]->[0] \n[1, 2, 3]->[1, 2] 8@1/8:1/1");
    assert_eq!(shown("n 1 c 1", "n c"), "[0]->[0] \n[2]->[1] ");
}

#[test]
fn sizes_without_a_common_factor_stay_together() {
    assert_eq!(shown("6 4", "8 3"), "[0, 1]->[0, 1] ");
}

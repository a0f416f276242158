//! What patches do, text in, text out.

use expect_test::expect;
use onnxfit_graph::{AttributeValue, Graph, GraphError, Model, NewNode, Patch, Place, ValueType};
use onnxfit_onnx::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};

fn node(text: &str) -> NodeProto {
    let (outputs, call) = text.split_once(" = ").unwrap();
    let (op_type, inputs) = call.trim_end_matches(')').split_once('(').unwrap();
    let names = |list: &str| list.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect();
    NodeProto { input: names(inputs), output: names(outputs), op_type: Some(op_type.to_owned()), ..Default::default() }
}

fn graph_proto(inputs: &str, outputs: &str, nodes: &[&str]) -> GraphProto {
    let infos = |list: &str| {
        let names = list.split(", ").filter(|name| !name.is_empty());
        names.map(|name| ValueInfoProto { name: Some(name.to_owned()), ..Default::default() }).collect()
    };
    GraphProto {
        name: Some("g".to_owned()),
        node: nodes.iter().map(|text| node(text)).collect(),
        input: infos(inputs),
        output: infos(outputs),
        ..Default::default()
    }
}

fn graph(inputs: &str, outputs: &str, nodes: &[&str]) -> Graph {
    Graph::from_proto(&graph_proto(inputs, outputs, nodes)).unwrap()
}

#[test]
fn inserts_a_node_between_two() {
    let mut graph = graph("x", "y", &["a = Relu(x)", "y = Exp(a)"]);
    let a = graph.value_named("a").unwrap();
    let (exp, _) = graph.producer(graph.value_named("y").unwrap()).unwrap();
    let mut patch = Patch::new(&graph, "cast");
    let cast = patch.add_value("a", ValueType::Unknown);
    patch.replace_uses(a, cast);
    patch.add_node(Place::Before(exp), NewNode::new("Cast", "c", &[a], &[cast]).with("to", AttributeValue::Int(10)));
    graph.apply(&patch).unwrap();
    expect![[r#"
        a = Relu(x)
        a_1 = Cast<to=10>(a)
        y = Exp(a_1)
    "#]]
    .assert_eq(&graph.to_string());
}

/// Exporters name nodes after what they make, so the name of a cast of an output may be taken.
#[test]
fn a_new_node_gets_a_name_that_no_other_has() {
    let mut named = graph_proto("x", "y", &["a = Relu(x)", "y = Exp(a)"]);
    named.node[0].name = Some("y".to_owned());
    let mut graph = Graph::from_proto(&named).unwrap();
    let y = graph.value_named("y").unwrap();
    let mut patch = Patch::new(&graph, "casts");
    for _ in 0..2 {
        let cast = patch.add_value("z", ValueType::Unknown);
        patch.add_node(Place::End, NewNode::new("Cast", "y", &[y], &[cast]).with("to", AttributeValue::Int(10)));
    }
    graph.apply(&patch).unwrap();
    let names: Vec<_> = graph.nodes().map(|(_, node)| node.name.as_str()).collect();
    assert_eq!(names, ["y", "", "y_1", "y_2"]);
}

#[test]
fn a_failing_patch_leaves_the_graph_as_it_was() {
    let mut graph = graph("x", "y", &["a = Relu(x)", "y = Exp(a)"]);
    let before = graph.to_string();
    let (relu, _) = graph.producer(graph.value_named("a").unwrap()).unwrap();
    let mut patch = Patch::new(&graph, "cut");
    patch.remove_node(relu);
    let error = graph.apply(&patch).unwrap_err();
    expect!["`y` (Exp) reads `a`, which no node, input or initializer of graph `g` or around it defines"]
        .assert_eq(&error.to_string());
    assert_eq!(graph.to_string(), before);
}

#[test]
fn a_patch_of_another_state_is_refused() {
    let mut graph = graph("x", "y", &["y = Relu(x)"]);
    let mut stale = Patch::new(&graph, "stale");
    stale.add_value("v", ValueType::Unknown);
    graph.apply(&stale.clone()).unwrap();
    assert!(matches!(graph.apply(&stale), Err(GraphError::StalePatch { .. })));
}

#[test]
fn a_cycle_is_named() {
    let proto = graph_proto("x", "y", &["a = Add(x, b)", "b = Exp(a)", "y = Neg(b)"]);
    let error = Graph::from_proto(&proto).unwrap_err();
    expect!["graph `g` has a cycle through 2 nodes: b -> a"].assert_eq(&error.to_string());
}

#[test]
fn a_name_defined_twice_is_named() {
    let error = Graph::from_proto(&graph_proto("x", "y", &["y = Relu(x)", "y = Exp(x)"])).unwrap_err();
    expect!["`y` is defined twice in graph `g`: an output of another node and an output of `y`"]
        .assert_eq(&error.to_string());
}

/// `y = If(c)`, both branches reading `a` from outside.
fn branching() -> Graph {
    let mut proto = graph_proto("x, c", "y", &["a = Relu(x)", "y = If(c)"]);
    for (name, inner) in [("then_branch", "t = Exp(a)"), ("else_branch", "t = Neg(a)")] {
        let branch = graph_proto("", "t", &[inner]);
        let attribute = AttributeProto {
            name: Some(name.to_owned()),
            r#type: Some(5),
            g: Some(Box::new(branch)),
            ..Default::default()
        };
        proto.node[1].attribute.push(attribute);
    }
    Graph::from_proto(&proto).unwrap()
}

#[test]
fn a_captured_value_is_an_implicit_input_and_follows_its_replacement() {
    let mut graph = branching();
    let a = graph.value_named("a").unwrap();
    let (_, branch) = graph.producer(graph.value_named("y").unwrap()).unwrap();
    assert_eq!(branch.implicit_inputs, [a]);

    let mut patch = Patch::new(&graph, "weight");
    let w = patch.add_initializer(TensorProto::from_f32("w", &[1], &[1.0]));
    patch.replace_uses(a, w);
    graph.apply(&patch).unwrap();
    expect![[r#"
        a = Relu(x)
        y = If(c)
          then_branch:
            t = Exp(w)
          else_branch:
            t = Neg(w)
    "#]]
    .assert_eq(&graph.to_string());
    let (_, branch) = graph.producer(graph.value_named("y").unwrap()).unwrap();
    assert_eq!(branch.implicit_inputs, [graph.value_named("w").unwrap()]);
}

#[test]
fn a_change_inside_a_branch_is_a_patch_in_a_patch() {
    let mut graph = branching();
    let (id, node) = graph.producer(graph.value_named("y").unwrap()).unwrap();
    let branch = node.graph("then_branch").unwrap();
    let (exp, _) = branch.nodes().next().unwrap();
    let mut inner = Patch::new(branch, "inner");
    inner.set_operator(exp, "", "Sin");
    let mut patch = Patch::new(&graph, "outer");
    patch.subgraph(id, "then_branch", 0, inner);
    graph.apply(&patch).unwrap();
    assert!(graph.to_string().contains("t = Sin(a)"), "{graph}");
}

#[test]
fn nodes_may_stand_in_any_order_in_the_file() {
    let proto = graph_proto("x", "y", &["y = Exp(a)", "a = Relu(x)"]);
    let model = Model::from_proto(&ModelProto { graph: Some(proto.clone()), ..Default::default() }).unwrap();
    assert_eq!(model.to_proto().graph.unwrap().node, proto.node);
    expect![[r#"
        a = Relu(x)
        y = Exp(a)
    "#]]
    .assert_eq(&model.graph.to_string());
}

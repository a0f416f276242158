//! A model that takes bytes answers as the original does for the floats made of them.

use onnxfit_graph::Model;
use onnxfit_onnx::{RandomWeights, SaveOptions, WeightStore, save, text};
use onnxfit_rewrite::uint8_input::{Layout, Resize, Uint8Options, uint8_input};
use onnxfit_runtime::{ElementType, Library, Session, SessionSpec, Tensor, Tensors, locate};

const NET: &str = "<ir_version: 8, opset_import: [\"\": 17]>
    g (float[n,3,16,20] x, float[n,7] z) => (float[n,7] y, float[n,3,16,20] kept) <float[8,3,3,3] w, float[8,7] v> {
        a = Conv<pads = [1,1,1,1]>(x, w)
        b = Relu(a)
        p = GlobalAveragePool(b)
        f = Flatten(p)
        m = MatMul(f, v)
        y = Add(m, z)
        kept = Identity(x)
    }";

fn model(source: &str) -> Model {
    Model::from_proto(&text::parse(source).unwrap()).unwrap()
}

fn imagenet(layout: Layout) -> Uint8Options {
    Uint8Options {
        mean: vec![0.485, 0.456, 0.406],
        deviation: vec![0.229, 0.224, 0.225],
        layout,
        ..Uint8Options::default()
    }
}

fn run(library: &'static Library, model: &Model, inputs: &Tensors) -> Tensors {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let absent = WeightStore::new("");
    let weights = RandomWeights::new(&absent, 1, onnxfit_rewrite::weight_roles::roles(model));
    save(&model.to_proto(), &path, &SaveOptions::new(&weights)).unwrap();
    Session::open(library, &SessionSpec::new(&path)).unwrap().run(inputs).unwrap()
}

#[test]
fn bytes_give_the_answers_of_the_floats_made_of_them() {
    let found = locate::find(&locate::Places::of_this_process());
    let Some(path) = found.library() else {
        eprintln!("skipped: no ONNX Runtime found\n{found}");
        return;
    };
    let library = Library::load(path).unwrap();
    let original = model(NET);
    let (rows, channels, height, width) = (2usize, 3usize, 16usize, 20usize);
    let byte = |n: usize, c: usize, h: usize, w: usize| ((n * 7919 + c * 104_729 + h * 613 + w * 37) % 256) as u8;
    let options = imagenet(Layout::Nhwc);
    let (mut floats, mut planes, mut pixels) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..rows {
        for c in 0..channels {
            for h in 0..height {
                for w in 0..width {
                    let value = f32::from(byte(n, c, h, w));
                    floats.push((value / 255.0 - options.mean[c]) / options.deviation[c]);
                    planes.push(byte(n, c, h, w));
                }
            }
        }
        for h in 0..height {
            for w in 0..width {
                pixels.extend((0..channels).map(|c| byte(n, c, h, w)));
            }
        }
    }
    let z = Tensor::from_f32(vec![2, 7], &[0.25; 14]).unwrap();
    let float_input = Tensor::from_f32(vec![2, 3, 16, 20], &floats).unwrap();
    let feeds = |x: Tensor| -> Tensors { [("x".to_owned(), x), ("z".to_owned(), z.clone())].into_iter().collect() };
    let expected = run(library, &original, &feeds(float_input.clone()));
    for (layout, shape, bytes) in
        [(Layout::Nhwc, vec![2, 16, 20, 3], pixels), (Layout::Nchw, vec![2, 3, 16, 20], planes)]
    {
        let changed = uint8_input(&original, &imagenet(layout)).unwrap();
        assert_eq!(changed.input, "x");
        let fed = Tensor::from_bytes(ElementType::Uint8, shape, bytes).unwrap();
        assert_eq!(fed.bytes().unwrap().len() * 4, float_input.bytes().unwrap().len());
        let answers = run(library, &changed.model, &feeds(fed));
        for (name, before) in expected.iter() {
            let after = answers.get(name).unwrap();
            assert_eq!(after.shape(), before.shape());
            let pairs = before.values().unwrap().into_iter().zip(after.values().unwrap());
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst <= 1e-6, "{layout:?} {name}: {worst}");
        }
    }
}

#[test]
fn pictures_of_any_size_are_brought_to_the_one_that_the_model_takes() {
    let found = locate::find(&locate::Places::of_this_process());
    let Some(path) = found.library() else {
        eprintln!("skipped: no ONNX Runtime found\n{found}");
        return;
    };
    let library = Library::load(path).unwrap();
    let original = model(
        "<ir_version: 8, opset_import: [\"\": 17]>
        g (float[n,1,1,4] x) => (float[n,1,1,4] y) { y = Identity(x) }",
    );
    let resize = Some(Resize { height: 1, width: 4 });
    let changed = uint8_input(&original, &Uint8Options { scale: 10.0, resize, ..Uint8Options::default() }).unwrap();
    let scaled = |width: u64, bytes: &[u8]| {
        let fed = Tensor::from_bytes(ElementType::Uint8, vec![1, 1, 1, width], bytes.to_vec()).unwrap();
        let answers = run(library, &changed.model, &[("x".to_owned(), fed)].into_iter().collect());
        answers.get("y").unwrap().values().unwrap()
    };
    assert_eq!(scaled(2, &[0, 100]), [0.0, 2.5, 7.5, 10.0]);
    assert_eq!(scaled(4, &[10, 20, 30, 40]), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(scaled(8, &[0, 10, 20, 30, 40, 50, 60, 70]), [0.5, 2.5, 4.5, 6.5]);
}

#[test]
fn steps_that_change_nothing_are_left_out() {
    let count = |options: &Uint8Options| {
        let changed = uint8_input(&model(NET), options).unwrap().model;
        let types: Vec<String> = changed.graph.nodes().map(|(_, node)| node.op_type.clone()).collect();
        types[..types.len() - 7].join(" ")
    };
    assert_eq!(count(&Uint8Options { scale: 1.0, ..Uint8Options::default() }), "Cast");
    assert_eq!(count(&imagenet(Layout::Nhwc)), "Transpose Cast Div Sub Div");
    let resize = Some(Resize { height: 16, width: 20 });
    assert_eq!(
        count(&Uint8Options { resize, ..imagenet(Layout::Nhwc) }),
        "Transpose Cast Shape Slice Concat Resize Div Sub Div"
    );
}

#[test]
fn what_cannot_take_bytes_is_refused_with_the_reason() {
    let refusal = |source: &str, options: &Uint8Options| uint8_input(&model(source), options).unwrap_err().to_string();
    let default = Uint8Options::default;
    assert_eq!(
        refusal(NET, &Uint8Options { input: Some("z".to_owned()), ..default() }),
        "input `z` cannot take bytes: it is no float tensor of four axes"
    );
    assert_eq!(
        refusal(NET, &Uint8Options { mean: vec![0.0, 0.1], ..default() }),
        "input `x` cannot take bytes: `mean` must be one number, or one for each of the 3 channels"
    );
    assert_eq!(
        refusal(NET, &Uint8Options { resize: Some(Resize { height: 16, width: 21 }), ..default() }),
        "input `x` cannot take bytes: the model takes 16 x 20 pixels, not 16 x 21"
    );
    assert_eq!(
        refusal(NET, &Uint8Options { scale: 0.0, ..default() }),
        "input `x` cannot take bytes: `scale` and `std` must not be zero"
    );
    assert_eq!(
        refusal("g (int64[n] i) => (int64[n] y) { y = Identity(i) }", &default()),
        "input `` cannot take bytes: no input is a float tensor of four axes"
    );
}

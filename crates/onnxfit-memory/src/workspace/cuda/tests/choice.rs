//! Which kernel computes attention, by card, type, head and length.

use onnxfit_onnx::DataType::{self, Bfloat16, Float, Float16};

use super::super::attention::{Layout, Mask, Shape};
use super::super::flash::n_splits;
use super::scratch_on;

fn shape(element: DataType, head: u64, queries: u64) -> Shape {
    Shape {
        element,
        batch: 2,
        n_heads: 12,
        queries,
        keys: queries,
        total_keys: queries,
        head,
        value_head: head,
        layout: Layout::Separate,
        mask: Mask::None,
        has_bias: false,
        has_attention_bias: false,
        has_past: false,
        has_present: false,
        has_score_output: false,
        has_past_length: false,
        unidirectional: false,
    }
}

fn table(variants: &[(&str, Shape)]) -> String {
    let cards = [(7, 0), (7, 5), (8, 0), (8, 6), (8, 9), (9, 0)];
    let row = |(name, shape): &(&str, Shape)| {
        let kernels: Vec<String> = cards.iter().map(|card| format!("{:?}", shape.kernel(*card))).collect();
        format!("{name}: {}\n", kernels.join(" "))
    };
    variants.iter().map(row).collect()
}

#[test]
fn the_kernel_depends_on_card_type_head_and_length() {
    let half = shape(Float16, 64, 128);
    let variants = [
        ("float 64 x 128", shape(Float, 64, 128)),
        ("float 64 x 512", shape(Float, 64, 512)),
        ("float 60 x 512", shape(Float, 60, 512)),
        ("float16 64 x 128", half),
        ("float16 64 x 512", shape(Float16, 64, 512)),
        ("float16 48 x 512", shape(Float16, 48, 512)),
        ("float16 320 x 512", shape(Float16, 320, 512)),
        ("bfloat16 64 x 512", shape(Bfloat16, 64, 512)),
        ("float16 with lengths", Shape { mask: Mask::Lengths, ..half }),
        ("float16 with another mask", Shape { mask: Mask::Other, ..half }),
        ("float16 with attention bias", Shape { has_attention_bias: true, ..half }),
        ("float16 causal", Shape { unidirectional: true, ..half }),
        ("float16 projected, short", Shape { layout: Layout::Projected, ..half }),
        (
            "float16 projected, long",
            Shape { layout: Layout::Projected, queries: 1024, keys: 1024, total_keys: 1024, ..half },
        ),
        ("float16 projected, causal", Shape { layout: Layout::Projected, unidirectional: true, ..half }),
        ("float16 projected, with past", Shape { layout: Layout::Projected, has_past: true, ..half }),
        ("float16 with score output", Shape { has_score_output: true, ..half }),
    ];
    expect_test::expect![[r#"
        float 64 x 128: Unfused Unfused Unfused Unfused Unfused Unfused
        float 64 x 512: MemoryEfficient MemoryEfficient MemoryEfficient MemoryEfficient MemoryEfficient MemoryEfficient
        float 60 x 512: Unfused Unfused Unfused Unfused Unfused Unfused
        float16 64 x 128: FusedSelf FusedCross Flash Flash Flash CudnnSdpa
        float16 64 x 512: FusedSelf FusedSelf Flash Flash Flash CudnnSdpa
        float16 48 x 512: MemoryEfficient MemoryEfficient Flash Flash Flash CudnnSdpa
        float16 320 x 512: MemoryEfficient MemoryEfficient MemoryEfficient MemoryEfficient MemoryEfficient MemoryEfficient
        bfloat16 64 x 512: Unfused Unfused MemoryEfficient MemoryEfficient MemoryEfficient CudnnSdpa
        float16 with lengths: FusedSelf FusedSelf FusedSelf FusedSelf FusedSelf CudnnSdpa
        float16 with another mask: Unfused Unfused Unfused Unfused Unfused Unfused
        float16 with attention bias: MemoryEfficient MemoryEfficient MemoryEfficient MemoryEfficient MemoryEfficient CudnnSdpa
        float16 causal: MemoryEfficient MemoryEfficient Flash Flash Flash CudnnSdpa
        float16 projected, short: FusedSelf FusedSelf FusedSelf FusedSelf FusedSelf CudnnSdpa
        float16 projected, long: FusedSelf FusedSelf Flash Flash Flash CudnnSdpa
        float16 projected, causal: MemoryEfficient MemoryEfficient MemoryEfficient MemoryEfficient MemoryEfficient CudnnSdpa
        float16 projected, with past: Unfused Unfused Unfused Unfused Unfused Unfused
        float16 with score output: Unfused Unfused Unfused Unfused Unfused Unfused
    "#]].assert_eq(&table(&variants));
}

#[test]
fn keys_are_split_until_the_card_is_busy() {
    let splits = |keys, n_multiprocessors| n_splits(1, 32, 1, keys, 128, n_multiprocessors).unwrap();
    let text = [128, 1024, 4096, 32_768].map(|keys| format!("{keys}: {} {}", splits(keys, 80), splits(keys, 132)));
    expect_test::expect![[r#"
        128: 1 1
        1024: 2 4
        4096: 5 4
        32768: 5 4"#]]
    .assert_eq(&text.join("\n"));
}

const ATTENTIONS: &str = "g (float16[2, 1024, 768] x, float[2, 128, 768] f, float16[2, 1024, 512] q, float16[2, 1024, 128] kv,
    float16[2, 8, 0, 64] past, int32[2] lengths, int32[1] total, float16[2, 8, 64, 64] n)
    => (float16[2, 1024, 768] y) <float16[768, 2304] w, float16[2304] b> {
        y = com.microsoft.MultiHeadAttention <num_heads = 12> (x, x, x)
        a = com.microsoft.MultiHeadAttention <num_heads = 12> (f, f, f)
        c = com.microsoft.Attention <num_heads = 12> (x, w, b)
        d, pk, pv = com.microsoft.GroupQueryAttention <num_heads = 8, kv_num_heads = 2, do_rotary = 1> (q, kv, kv, , , lengths, total)
        e = Attention (n, n, n)
    }";

#[test]
fn attention_on_every_kind_of_card() {
    let all = [Some((7, 5)), Some((8, 6)), Some((9, 0)), None];
    let text: String = all.iter().map(|card| format!("{card:?}\n{}", scratch_on(ATTENTIONS, *card))).collect();
    expect_test::expect![[r#"
        Some((7, 5))
        MultiHeadAttention: fused self attention 9437440
        MultiHeadAttention: unfused attention 5505024
        Attention: projected queries, keys and values 9437184, fused self attention 9437440
        GroupQueryAttention: sequence lengths 24, expanded keys 2097152, expanded values 2097152, transformed queries and keys 2621440
        Attention: transposed queries 131072, transposed output 131072, sequence lengths 8
        Some((8, 6))
        MultiHeadAttention: sums of exponentials 98304
        MultiHeadAttention: unfused attention 5505024
        Attention: sums of exponentials 98304, projected queries, keys and values 9437184, flash attention 9437184
        GroupQueryAttention: sums of exponentials 65536, sequence lengths 24, transformed queries 2097152
        Attention: sums of exponentials 4096, transposed queries 131072, transposed output 131072, sequence lengths 8
        Some((9, 0))
        MultiHeadAttention: cuDNN plan 0..0..98304
        MultiHeadAttention: unfused attention 5505024
        Attention: projected queries, keys and values 9437184, cuDNN attention 9437184, cuDNN plan 0..0..98304
        GroupQueryAttention: sequence lengths 24, transformed queries 2097152, cuDNN plan 0..0..65536
        Attention: sums of exponentials 4096, transposed queries 131072, transposed output 131072, sequence lengths 8
        None
        MultiHeadAttention: attention on an unknown card 0..98304..9437440
        MultiHeadAttention: attention on an unknown card 5505024
        Attention: attention on an unknown card 18874368..18972672..18972672
        GroupQueryAttention: attention on an unknown card 2097408..2162944..6816000
        Attention: attention on an unknown card 262400..266496..266496
    "#]].assert_eq(&text);
}

//! `docs/errors.md`: what each kind of message means, as the command really answers.
//!
//! The page is written by this test and held to it: every answer on it is a real one. After a
//! change `UPDATE_EXPECT=1` writes it anew. The messages are made up, in ONNX Runtime's grammar.

use std::fmt::Write as _;

use expect_test::expect_file;
use onnxfit_explain::explain;

/// A heading, what to know besides, and a message.
const RECIPES: &[(&str, &str, &str)] = &[
    (
        "Failed to allocate memory for requested buffer of size …",
        "The device refused these bytes alone. A large number is the tensor itself; a small one names a bystander.",
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Softmax node. Name:'/encoder/layer.0/attention/self/Softmax' Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*, bool, onnxruntime::WaitNotificationFn) Failed to allocate memory for requested buffer of size 3221225472",
    ),
    (
        "Available memory of … is smaller than requested bytes of …",
        "A limit was set, by you or by the application; the card may be half empty.",
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. Name:'Conv_7' Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Available memory of 3145728 is smaller than requested bytes of 5505024",
    ),
    (
        "CUDA failure 2: out of memory … expr=cudaMalloc",
        "Not through the arena: at a convolution it is the workspace of cuDNN's search.",
        "Non-zero status code returned while running FusedConv node. Name:'stem/conv' Status Message: CUDA failure 2: out of memory ; GPU=0 ; hostname=worker ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_allocator.cc ; line=47 ; expr=cudaMalloc((void**)&p, size);",
    ),
    (
        "CUBLAS_STATUS_ALLOC_FAILED",
        "No size exists: a library handle could not be made, because the card was full already.",
        "Non-zero status code returned while running Gemm node. Name:'head/fc' Status Message: CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=worker ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_stream_handle.cc ; line=74 ; expr=cublasCreate(&cublas_handle_);",
    ),
    (
        "CUDNN_STATUS_NOT_INITIALIZED",
        "Either the card was full, or the library does not match: the message cannot tell.",
        "Exception during initialization: CUDNN failure 1001: CUDNN_STATUS_NOT_INITIALIZED ; GPU=0 ; hostname=worker ; expr=cudnnCreate(&cudnn_handle_);",
    ),
    (
        "A requested size that no tensor has",
        "On a convolution: the computation of a workspace went wrong on a full card, and is remembered.",
        "Non-zero status code returned while running Conv node. Name:'patch_embed/Conv' Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Failed to allocate memory for requested buffer of size 4611686018427387904",
    ),
    (
        "OOMKilled, exit code 137, bad allocation",
        "The memory of the host or of the container, not of the card.",
        "State: Terminated\n  Reason: OOMKilled\n  Exit Code: 137",
    ),
    (
        "HTTP 507 of a SageMaker multi-model endpoint",
        "No memory is left for one more model.",
        "An error occurred (ModelError) when calling the InvokeEndpoint operation: Received server error (507) from primary with message \"insufficient memory\"",
    ),
    (
        "Failed to create CUDAExecutionProvider",
        "Not memory: the CPU runs the model, slowly.",
        "[W:onnxruntime:Default, onnxruntime_pybind_state.cc:965 CreateExecutionProviderInstance] Failed to create CUDAExecutionProvider. Require cuDNN 9.* and CUDA 12.*",
    ),
    (
        "no kernel image is available",
        "Not memory: this release has no kernels for the GPU.",
        "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Relu node. Name:'Relu_2' Status Message: CUDA error cudaErrorNoKernelImageForDevice:no kernel image is available for execution on the device",
    ),
    (
        "CUDA failure 700: an illegal memory access",
        "Not a lack of memory, whatever the words say.",
        "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=worker ; expr=cudaStreamSynchronize(stream);",
    ),
];

#[test]
fn the_page_of_errors_says_what_the_command_answers() {
    let mut page = String::from(
        "# I have this error\n\n\
         What messages about memory mean, as `onnxfit explain` answers them. Paste yours with\n\
         `onnxfit explain -`, or give it the log: `onnxfit explain service.log model.onnx --on g4dn.xlarge`.\n\
         With the model it finds the node, matches the number to tensors and offers `fix`.\n\n\
         This page is made by a test of `onnxfit-explain`; every answer on it is a real one, the messages are made up.\n",
    );
    for (heading, note, message) in RECIPES {
        let explanation = explain(message.as_bytes());
        assert!(!explanation.causes.is_empty(), "{heading}");
        // Writing to a string cannot fail.
        let _ = write!(
            page,
            "\n## {heading}\n\n{note}\n\n```text\n{message}\n```\n\n```text\n{}\n```\n",
            explanation.to_string().trim_end()
        );
    }
    expect_file!["../../../docs/errors.md"].assert_eq(&page);
}

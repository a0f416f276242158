//! The JSON: its keys, their order and their values are a contract.

use expect_test::expect;
use onnxfit_explain::explain;

#[test]
fn writes_the_keys_of_the_contract_in_order() {
    let log = "Non-zero status code returned while running Softmax node. Name:'s' Status Message: Available memory of 0 is smaller than requested bytes of 5505024";
    let json = explain(log.as_bytes()).to_json().expect("an explanation is JSON");
    expect![[r#"
        {
          "schema": "onnxfit.explain/1",
          "is_oom": true,
          "memory": "arena_limit",
          "causes": [
            {
              "id": "memory_limit_too_low",
              "confidence": "high",
              "evidence": [
                "Available memory of 0 is smaller than requested bytes of 5505024",
                "0 bytes are left under the limit; free memory of the card is not part of this message"
              ],
              "meaning": "A limit was set on the arena and this request does not fit under it; the card may be half empty"
            }
          ],
          "requested_bytes": 5505024,
          "available_bytes": 0,
          "limit_bytes": null,
          "node": "s",
          "op_type": "Softmax",
          "form": "bfc_available_memory",
          "advice": [
            {
              "id": "raise_limit",
              "text": "Raise `gpu_mem_limit` (or the arena's `max_mem`), or leave it out: the limit refused this, whatever the card has free. Look for it in the code that creates the session; an application may set it for you.",
              "command": "providers=[(\"CUDAExecutionProvider\", {\"gpu_mem_limit\": str(8 * 1024**3)})]"
            },
            {
              "id": "shrink_arena",
              "text": "Give memory back after each run through the options of the run, and keep weights out of the arena, else they pin its regions. It costs time in each run and does not help if one run alone is too large.",
              "command": "run_options.add_run_config_entry(\"memory.enable_memory_arena_shrinkage\", \"gpu:0\")\nsession_options.add_session_config_entry(\"session.use_device_allocator_for_initializers\", \"1\")"
            },
            {
              "id": "smaller_batch",
              "text": "Send fewer rows per run, or shorter ones: cut the batch in chunks and cap the longest input. This is the fix that works most reliably. Count the rows that reach the model: batchers multiply them."
            },
            {
              "id": "check_model",
              "text": "Let onnxfit compute what this model needs at your batch and length, and where the peak is.",
              "command": "onnxfit check MODEL.onnx --on INSTANCE --dim batch=N --dim sequence=N"
            }
          ],
          "not_helping": [
            {
              "id": "bigger_card",
              "text": "A bigger card: the limit would refuse the same request there."
            },
            {
              "id": "empty_cache",
              "text": "`torch.cuda.empty_cache()`: it frees PyTorch's pool, never the arena of ONNX Runtime."
            }
          ],
          "phase": "run",
          "device_index": null,
          "provider": null,
          "releases": [],
          "host": null,
          "instance_types": [],
          "dialects": [],
          "first_error": "Available memory of 0 is smaller than requested bytes of 5505024",
          "repeats": 1,
          "readings": [],
          "settings": []
        }"#]].assert_eq(&json);
}

#[test]
fn says_the_answer_first() {
    let log = "Non-zero status code returned while running Add node. Name:'/attn/Add' Status Message: Failed to allocate memory for requested buffer of size 8388608000";
    expect![[r#"
        out of memory: the memory of the GPU, during a run, at `/attn/Add` (Add), asked for 7.81 GiB (8388608000)
          Failed to allocate memory for requested buffer of size 8388608000

        cause `batch_too_large` (medium confidence): One run holds too many rows or too long ones
          because Failed to allocate memory for requested buffer of size 8388608000
          because the node computes attention scores: rows x heads x length x length
        or `single_tensor_too_large` (medium confidence): One tensor alone is larger than what the device can give
          because Failed to allocate memory for requested buffer of size 8388608000
          because 7.81 GiB were asked for at once
        or `unknown_vram_exhausted` (low confidence): Memory was refused; the text does not say who holds the rest
          because Failed to allocate memory for requested buffer of size 8388608000

        the size can be
          500 x 16 x 512^2 x 4
          1000 x 8 x 512^2 x 4
          250 x 32 x 512^2 x 4
          2000 x 16 x 256^2 x 4
          4000 x 8 x 256^2 x 4
          1000 x 32 x 256^2 x 4

        what to do, in order
          1. Send fewer rows per run, or shorter ones: cut the batch in chunks and cap the longest input. This is the fix that works most reliably. Count the rows that reach the model: batchers multiply them.
          2. Let onnxfit compute what this model needs at your batch and length, and where the peak is.
               onnxfit check MODEL.onnx --on INSTANCE --dim batch=N --dim sequence=N
          3. Let onnxfit make it fit and prove it: session settings, the batch in pieces, half precision.
               onnxfit fix MODEL.onnx --on INSTANCE -o fitted
          4. Pick an instance whose single GPU is large enough: memory of several GPUs does not add up for one session.
               onnxfit recommend MODEL.onnx
          5. Read the card's memory at the moment of failure, not before the run.
               nvidia-smi --query-gpu=memory.used,memory.total --format=csv -l 1
          6. Allow fewer runs at once on one card: every thread that runs has its own activations, streams and library handles. Use a queue or a semaphore around `run()`; keep worker threads alive instead of starting one per request.
          7. Use one session for all callers: each session, model instance or worker process has its own weights and its own arena. Fewer instances per GPU, or unload models that are not in use.

        what will not help
          - `arena_extend_strategy=kSameAsRequested`: on refusal the arena already retries down to the size that was asked for, so it cannot help when that size alone does not fit.
          - Arena shrinkage: it gives memory back after a run, and this run alone is too large.
          - A lower `gpu_mem_limit`: it does not lower the need, it only turns this message into another one.
          - `torch.cuda.empty_cache()`: it frees PyTorch's pool, never the arena of ONNX Runtime.
    "#]].assert_eq(&explain(log.as_bytes()).to_string());
}

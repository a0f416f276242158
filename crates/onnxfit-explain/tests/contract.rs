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

//! The context, library handles and kernels: a fixed cost, not a leak.

use crate::advice::{CHECK_MODEL, LEAVE_HEADROOM, NOT_EMPTY_CACHE, NOT_LOWER_LIMIT, NOT_SHRINKAGE, SHARE_SESSION};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "cuda_context_overhead",
    meaning: "A CUDA process takes a few hundred megabytes before any tensor exists, and keeps them until it ends",
    memory: Memory::Device,
    oom: Oom::No,
    judge,
    advice: &[LEAVE_HEADROOM, SHARE_SESSION, CHECK_MODEL],
    not_helping: &[NOT_EMPTY_CACHE, NOT_SHRINKAGE, NOT_LOWER_LIMIT],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if facts.has_machine_message() {
        return None;
    }
    if let Some((model, used)) = crate::causes::footprint(&facts.prose)
        && model < 50 << 20
        && used > 20 * model
        && used < 4 << 30
        && words!(facts, r"\bgpu|vram|cuda|video memory|nvidia|torch").is_some()
    {
        return Some(Verdict::words(
            84,
            [format!(
                "a model of {} and a footprint of {}: the difference is no tensor",
                onnxfit_base::Bytes(model),
                onnxfit_base::Bytes(used)
            )],
        ));
    }
    let freed = words!(
        facts,
        r"releasesession|session (?:is |was |gets |has been )?(?:destroy|delet|releas|clos|destruct|terminat)\w*|(?:releas|delet|destroy|clos|terminat)\w* (?:the |all |my )?(?:ort |onnx |inference )?session|session = (?:none|nullptr|null)|del (?:ort_?)?sess"
    );
    let until_exit = words!(
        facts,
        r"until (?:its? |the |my )?(?:\.?exe|process|program|application|app|python)[^.\n]{0,20}(?:kill|clos|terminat|end|exit|quit)|still (?:\w+ ){0,3}(?:occup|us|hold|tak)\w* (?:about |around |up )?(?:\d+ ?%|\d{2,3} ?m(?:i?b)?)|\d{2,3} ?m(?:i?b)? (?:\w+ ){0,5}(?:remain|left|still)"
    );
    if let (Some(freed), Some(until_exit)) = (freed, until_exit)
        && words!(facts, r"\bgpu|vram|cuda|video memory").is_some()
        && words!(facts, r"\bram\b").is_none()
    {
        return Some(Verdict::words(73, [freed, until_exit]));
    }
    let said = words!(
        facts,
        r"(?:always|even|already|only|just|about|fixed)[^.\n]{0,30}\b[1-9]\d{2} ?mi?b[^.\n]{0,12}(?:gpu|video|vram|cuda)[^.\n]{0,60}(?:on (?:the )?cpu|idle|empty|nothing)|cuda context|context (?:overhead|memory)|import(?:ing)? torch|(?:tiny|small|empty|trivial|simple) (?:onnx )?model.{0,80}(?:mb|mib|gb|memory)|after (?:the )?(?:session|del|destroying|deleting|closing).{0,60}(?:\d+ ?m(?:i?b)?|still|remain)|(?:remain|left|kept)\w* .{0,20}\d{3} ?m(?:i?b)"
    )?;
    // The context is memory of the card: a text that only speaks of the host means something else.
    words!(facts, r"\bgpu|vram|cuda|video memory|nvidia|torch").map(|_| Verdict::words(72, [said]))
}

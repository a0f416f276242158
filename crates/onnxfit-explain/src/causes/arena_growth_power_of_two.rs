//! Doubling takes more than is asked for.

use crate::advice::{DEVICE_ALLOCATOR, NOT_EMPTY_CACHE, SAME_AS_REQUESTED, UPGRADE, WARM_UP_LARGEST};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "arena_growth_power_of_two",
    meaning: "The arena grows by doubling and takes more than is asked for",
    memory: Memory::Device,
    oom: Oom::AsText,
    judge,
    advice: &[SAME_AS_REQUESTED, DEVICE_ALLOCATOR, WARM_UP_LARGEST, UPGRADE],
    not_helping: &[NOT_EMPTY_CACHE],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if facts.has_machine_message() {
        return None;
    }
    let extended = facts
        .hits
        .iter()
        .filter(|hit| hit.form == "arena_extend_trace")
        .filter_map(|hit| hit.status.parse::<u64>().ok())
        .max();
    let taken = facts
        .hits
        .iter()
        .filter(|hit| hit.form == "arena_total_trace")
        .filter_map(|hit| hit.status.parse::<u64>().ok())
        .max();
    if let (Some(asked), Some(taken)) = (extended, taken)
        && asked > 32 << 20
        && taken > asked + asked / 2
    {
        return Some(Verdict::words(66, [format!("{asked} bytes were asked for and {taken} are taken")]));
    }
    if let Some(said) = words!(
        facts,
        r"knextpoweroftwo|power[ -]of[ -](?:two|2)|doubl(?:es|ing) (?:the )?(?:memory|allocation|size)|enable_cpu_mem_arena|extend_strategy|(?:asked|request\w*) .{0,40}(?:taken|allocates?|got) "
    ) {
        // Who has set the other strategy already has no doubling.
        let is_set = words!(facts, r"ksameasrequested|same_as_requested|arena_extend_strategy\W{1,4}1\b").is_some();
        let speaks_of_doubling = words!(facts, r"knextpoweroftwo|power[ -]of[ -](?:two|2)|doubl\w+").is_some();
        return Some(Verdict::words(if is_set && !speaks_of_doubling { 61 } else { 71 }, [said]));
    }
    let (model, used) = crate::causes::footprint(&facts.prose)?;
    // Twice the model and more, for a model that is not tiny.
    (model >= 50 << 20 && used >= 2 * model).then(|| {
        Verdict::words(
            56,
            [format!(
                "the text speaks of a model of {} that takes {}",
                onnxfit_base::Bytes(model),
                onnxfit_base::Bytes(used)
            )],
        )
    })
}

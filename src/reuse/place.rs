//! Which instruction a step of a log is.

use super::outline::{Known, Outline};
use super::{Build, Expected, How, Place, Reading, Step};
use crate::evidence::log::name::StepName;
use crate::evidence::log::{BuildLog, LoggedBuild, LoggedStep, StepState};

/// Reads a log beside what a Dockerfile would have in it, once for each platform; without outlines there are no places.
pub fn place<'l>(log: &'l BuildLog, outlines: &[Outline]) -> Reading<'l> {
    Reading { builds: log.builds.iter().map(|b| build(b, outlines)).collect() }
}

/// The platforms that a log names, in their order.
pub fn platforms(log: &BuildLog) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for step in log.builds.iter().flat_map(|b| &b.steps) {
        let name = StepName::parse(&step.name);
        if let Some(platform) = name.target_platform().filter(|_| name.is_instruction())
            && !out.contains(&platform)
            && out.len() < 16
        {
            out.push(platform);
        }
    }
    out
}

fn build<'l>(logged: &'l LoggedBuild, outlines: &[Outline]) -> Build<'l> {
    let mut steps: Vec<Step<'l>> = logged.steps.iter().map(|s| step(s, s.name.clone(), s.state)).collect();
    separate_links(&mut steps, logged);
    let mut taken: Vec<Vec<bool>> = outlines.iter().map(|o| vec![false; o.steps.len()]).collect();
    // What has its own name first, so that nothing else takes its place.
    for how in [How::Name, How::Position, How::Text] {
        for step in steps.iter_mut().filter(|s| s.place.is_none()) {
            let Some(at) = outline_of(&step.parts, outlines) else { continue };
            let (Some(outline), Some(taken)) = (outlines.get(at), taken.get_mut(at)) else { continue };
            let Some(vertex) = find(&step.parts, outline, taken, how) else { continue };
            if let Some(slot) = taken.get_mut(vertex) {
                *slot = true;
            }
            step.place = Some(Place { outline: at, vertex, how });
        }
    }
    let mut out = Build { logged, steps, unmatched: 0 };
    let missing = missing(&out, outlines, &taken);
    out.unmatched = missing.len();
    if out.fits() && !logged.headless {
        out.steps.extend(missing.into_iter().map(|m| m.1));
    }
    out
}

fn step<'l>(logged: &'l LoggedStep, name: String, state: StepState) -> Step<'l> {
    let parts = StepName::parse(&name);
    let logged = Some(logged);
    Step { logged, name, parts, state, place: None, expected: Expected::Unknown, remark: None }
}

/// Plain progress shows a `COPY --link` once, although it is two steps: the copy, which stands on nothing, and the merge
/// with what is below. `DONE` means that one of them was made; which, can be said if nothing of the context was sent.
fn separate_links<'l>(steps: &mut Vec<Step<'l>>, logged: &'l LoggedBuild) {
    let has_links = steps.iter().any(|s| s.parts.link);
    let sent = logged
        .steps
        .iter()
        .rev()
        .find_map(|s| s.transfer("context").filter(|_| s.name.contains("build context")));
    let mut at = 0;
    while let Some(step) = steps.get_mut(at) {
        at += 1;
        let linked = is_linked(&step.parts)
            && step.state == StepState::Done
            && step.logged.is_some_and(|l| l.number.is_some());
        if !linked || has_links {
            continue;
        }
        let mut merge = step.clone();
        let split = merge.name.len().saturating_sub(merge.parts.text.len());
        merge.name.insert_str(split.min(merge.name.len()), "LINK ");
        merge.parts.link = true;
        if sent.is_some_and(|sent| sent.most < least_with_content(&step.parts.text)) {
            step.state = StepState::Cached;
        }
        steps.insert(at, merge);
        at += 1;
    }
}

fn is_linked(name: &StepName) -> bool {
    let mut words = name.text.split_whitespace();
    name.index.is_some()
        && matches!(words.next(), Some("COPY" | "ADD"))
        && words.take_while(|w| w.starts_with("--")).any(|w| w == "--link" || w == "--link=true")
}

/// The fewest bytes that a transfer can have in which the content of some file that an instruction copies is sent.
fn least_with_content(text: &str) -> u64 {
    let mut words: Vec<&str> = text.split_whitespace().skip(1).collect();
    if words.iter().any(|w| w.starts_with("--from") || w.contains("<<") || w.starts_with('[')) {
        return 0;
    }
    words.retain(|w| !w.starts_with("--"));
    words.pop();
    // A path that stands for many has one of unknown length at least.
    let paths =
        words.iter().map(|w| if w.contains(['*', '?', '[', '$']) { 1 } else { w.trim_matches('/').len() });
    let headers: u64 = paths.map(|length| super::sent::LEAST_HEADER + length as u64).sum();
    if words.is_empty() { 0 } else { headers + super::sent::LEAST_CONTENT + super::sent::END }
}

/// The outline for the platform of a step.
fn outline_of(name: &StepName, outlines: &[Outline]) -> Option<usize> {
    let Some(platform) = name.target_platform() else { return (!outlines.is_empty()).then_some(0) };
    let same = |o: &Outline| o.platform == platform || o.platform == normal(&platform);
    match outlines.iter().position(same) {
        Some(at) => Some(at),
        None => (outlines.len() == 1).then_some(0),
    }
}

fn normal(platform: &str) -> String {
    crate::invoke::platform::Platform::parse(platform).map_or_else(|_| platform.to_owned(), |p| p.to_string())
}

fn find(name: &StepName, outline: &Outline, taken: &[bool], how: How) -> Option<usize> {
    let steps = || outline.steps.iter().enumerate();
    let free = |at: &usize| taken.get(*at) == Some(&false);
    if !name.is_instruction() {
        // An image whose name cannot be resolved stops the build before it has steps.
        let reference = name.text.strip_prefix("load metadata for ")?;
        let (at, _) =
            steps().find(|(_, k)| k.name.keyword() == "FROM" && image(&k.name.text) == reference)?;
        return (how == How::Text).then_some(at);
    }
    let same_stage = |k: &Known| stage_fits(name, &k.name);
    let same_half = |k: &Known| k.name.link == name.link;
    if name.keyword() == "FROM" {
        let from = |k: &Known| k.name.keyword() == "FROM";
        let same_image = |k: &Known| from(k) && image(&k.name.text) == image(&name.text);
        let found = match how {
            How::Name => steps().find(|(_, k)| same_image(k) && same_stage(k)),
            How::Position => steps().find(|(_, k)| same_image(k)),
            // A stage has one base, whatever an argument made of its name.
            How::Text => steps().find(|(_, k)| from(k) && same_stage(k)),
        };
        return found.map(|(at, _)| at);
    }
    match how {
        How::Name => steps()
            .filter(|(at, k)| {
                free(at) && same_half(k) && k.name.text == name.text && k.name.index == name.index
            })
            .filter(|(_, k)| same_stage(k) && k.name.onbuild == name.onbuild)
            .min_by_key(|(_, k)| k.name.stage != name.stage)
            .map(|(at, _)| at),
        How::Position => steps()
            .filter(|(at, k)| free(at) && same_half(k) && k.name.index == name.index && same_stage(k))
            .find(|(_, k)| k.name.keyword() == name.keyword() && fits(k, &name.text))
            .map(|(at, _)| at),
        How::Text => {
            let mut found = steps().filter(|(at, k)| free(at) && same_half(k) && k.name.text == name.text);
            match (found.next(), found.next()) {
                (Some((at, _)), None) => Some(at),
                _ => None,
            }
        }
    }
}

/// Whether the stage of a step of the log can be that of a step of the Dockerfile. The only word may be the target of a
/// bake file, and engines of 2020 name a single stage in other cases than today's.
fn stage_fits(logged: &StepName, known: &StepName) -> bool {
    logged.stage == known.stage
        || (known.stage.is_none() && logged.stage.is_some())
        || (logged.stage.is_none() && known.stage.as_deref() == Some("stage-0"))
}

/// The image of `FROM IMAGE@DIGEST`.
fn image(text: &str) -> &str {
    let image = text.strip_prefix("FROM ").unwrap_or(text);
    image.split('@').next().unwrap_or(image)
}

/// Whether the words of an instruction are those that a log shows: expanded, or as they are written.
fn fits(known: &Known, shown: &str) -> bool {
    let head = shown.strip_suffix("...").filter(|h| h.len() > 20);
    known.name.text == shown
        || head.is_some_and(|h| known.name.text.starts_with(h))
        || values_of(&known.name.text, shown).is_some()
        || values_of(&known.written, shown).is_some()
}

/// The values of variables with which one text becomes another: the variables without a name are left out. `None` if it
/// does not, or has no variables.
fn values_of(written: &str, shown: &str) -> Option<Vec<(String, String)>> {
    let (literals, variables) = taken_apart(written);
    if variables.is_empty() {
        return None;
    }
    let mut rest = shown.strip_prefix(literals.first()?.as_str())?;
    let mut out = Vec::new();
    for (n, (literal, variable)) in literals.iter().skip(1).zip(&variables).enumerate() {
        let last = n + 1 == variables.len();
        let at = match last {
            true => rest.ends_with(literal.as_str()).then(|| rest.len() - literal.len())?,
            false => rest.find(literal.as_str())?,
        };
        let value = rest.get(..at)?;
        // Two variables side by side can share a text in many ways.
        if !variable.is_empty() && (last || !literal.is_empty()) && !value.starts_with('$') {
            out.push((variable.clone(), value.to_owned()));
        }
        rest = rest.get(at + literal.len()..)?;
    }
    Some(out)
}

/// What stands between the variables of a text, and their names: `$NAME`, `${NAME}`; without a name `${…:-…}`, and
/// `****` for what is secret.
fn taken_apart(text: &str) -> (Vec<String>, Vec<String>) {
    let mut literals = vec![String::new()];
    let mut variables = Vec::new();
    let mut chars = text.chars().peekable();
    let is_word = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    while let Some(c) = chars.next() {
        let mut name = String::new();
        match c {
            '$' if chars.peek() == Some(&'{') => {
                chars.next();
                let mut depth = 1_u32;
                for c in chars.by_ref() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 1 => break,
                        '}' => depth -= 1,
                        _ => {}
                    }
                    name.push(c);
                }
                if !name.chars().all(|c| is_word(&c)) {
                    name.clear();
                }
            }
            '$' if chars.peek().is_some_and(|c| c.is_ascii_alphabetic() || *c == '_') => {
                while let Some(c) = chars.next_if(is_word) {
                    name.push(c);
                }
            }
            '*' if chars.peek() == Some(&'*') => while chars.next_if_eq(&'*').is_some() {},
            c => {
                if let Some(last) = literals.last_mut() {
                    last.push(c);
                }
                continue;
            }
        }
        variables.push(name);
        literals.push(String::new());
    }
    (literals, variables)
}

/// The values of build arguments that names of steps show: those that an instruction has as variables. Where steps
/// disagree, there is no value.
pub fn arguments(log: &BuildLog, outlines: &[Outline], declared: &[String]) -> Vec<(String, String)> {
    let mut out: Vec<(String, Option<String>)> = Vec::new();
    let reading = place(log, outlines);
    for step in reading.builds.iter().flat_map(|b| &b.steps).filter(|s| s.logged.is_some()) {
        let Some(place) = step.place.filter(|p| p.how != How::Text || step.parts.keyword() == "FROM") else {
            continue;
        };
        let known = outlines.get(place.outline).and_then(|o| o.steps.get(place.vertex));
        let shown = match step.parts.keyword() {
            "FROM" => step.parts.text.split('@').next().unwrap_or_default(),
            _ => &step.parts.text,
        };
        for (name, value) in known.and_then(|k| values_of(&k.written, shown)).unwrap_or_default() {
            if !declared.contains(&name) || value.len() > 200 {
                continue;
            }
            match out.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) if known.as_ref() == Some(&value) => {}
                Some((_, known)) => *known = None,
                None => out.push((name, Some(value))),
            }
        }
    }
    out.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Instructions that the log does not have although the build was to come to them: those of a build that failed or was
/// cut off, and on one platform those that another one had.
fn missing<'l>(build: &Build<'l>, outlines: &[Outline], taken: &[Vec<bool>]) -> Vec<(usize, Step<'l>)> {
    let over = build.logged.error.is_some()
        || build
            .steps
            .iter()
            .any(|s| matches!(s.state, StepState::Error | StepState::Unfinished) && s.counts());
    let place = |name: &StepName| (name.stage.clone(), name.index);
    let logged: Vec<_> = build.steps.iter().filter(|s| s.place.is_some()).map(|s| place(&s.parts)).collect();
    let logged_stages: Vec<(usize, Option<&str>)> = build
        .steps
        .iter()
        .filter(|s| s.counts())
        .filter_map(|s| Some((s.place?.outline, s.parts.stage.as_deref())))
        .collect();
    let used = |at: usize| build.steps.iter().any(|s| s.place.is_some_and(|p| p.outline == at));
    let mut out = Vec::new();
    for (at, (outline, taken)) in outlines.iter().zip(taken).enumerate() {
        if !used(at) {
            continue;
        }
        for (vertex, (known, taken)) in outline.steps.iter().zip(taken).enumerate() {
            let counts = known.name.is_instruction() && known.name.keyword() != "FROM" && !known.source;
            // Of steps that turn out to be the same only one is shown: on another platform, or in a stage that was built.
            let elsewhere = || outlines.len() > 1 && logged.contains(&place(&known.name));
            let built = || logged_stages.contains(&(at, known.name.stage.as_deref()));
            if *taken || !counts || !(over || elsewhere() || built()) {
                continue;
            }
            let several = build.steps.iter().any(|s| s.parts.platform.is_some());
            let name = match known.shown.strip_prefix('[').filter(|_| several) {
                Some(rest) => format!("[{} {rest}", outline.platform),
                None => known.shown.clone(),
            };
            let step = Step {
                logged: None,
                parts: StepName::parse(&name),
                name,
                state: StepState::NotStarted,
                place: Some(Place { outline: at, vertex, how: How::Name }),
                expected: Expected::Unknown,
                remark: None,
            };
            out.push((at, step));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_fit_with_any_value_of_their_variables() {
        let values = |written: &str, shown: &str| -> Option<String> {
            let found = values_of(written, shown)?;
            Some(found.iter().map(|(name, value)| format!("{name}={value} ")).collect())
        };
        assert_eq!(values("RUN echo $V > /v", "RUN echo 12 > /v").unwrap(), "V=12 ");
        assert_eq!(values("COPY a${B}c ${D:-e} /", "COPY abbc x /").unwrap(), "B=bb ");
        assert_eq!(
            values("RUN for i in a; do echo $i; done", "RUN for i in a; do echo $i; done").unwrap(),
            ""
        );
        assert_eq!(values("RUN login ****", "RUN login hunter2").unwrap(), "");
        assert_eq!(values("RUN echo $A$B", "RUN echo xy").unwrap(), "B=xy ");
        assert_eq!(values("RUN echo $V > /v", "RUN echo 12 > /w"), None);
        assert_eq!(values("RUN a", "RUN a"), None);
        assert_eq!(values("RUN ${", "RUN x").unwrap(), "");
    }

    #[test]
    fn a_linked_copy_of_which_nothing_was_sent_was_found() {
        let log = |bytes: u64| {
            let text = format!(
                "#1 [internal] load build context\n#1 transferring context: {bytes}B done\n#1 DONE 0.0s\n\n\
                 #2 [3/3] COPY --link big /big\n#2 DONE 0.0s\n"
            );
            let log = BuildLog::read(text.as_bytes(), &|_| false).unwrap();
            let reading = place(&log, &[]);
            reading.builds[0].steps.iter().skip(1).map(|s| (s.name.clone(), s.state)).collect::<Vec<_>>()
        };
        let names = ["[3/3] COPY --link big /big".to_owned(), "[3/3] LINK COPY --link big /big".to_owned()];
        let with = |copy| vec![(names[0].clone(), copy), (names[1].clone(), StepState::Done)];
        assert_eq!(log(27), with(StepState::Cached));
        assert_eq!(log(4000), with(StepState::Done));
    }
}

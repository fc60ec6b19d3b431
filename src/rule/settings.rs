//! What a run lets its rules do: which of them run, how severe they are, and their options. Plain data; where it was
//! written is the business of `config` and `cli`.

use super::{ALL, Rule};
use crate::finding::Severity;
use globset::{Glob, GlobSet, GlobSetBuilder};
use std::collections::HashMap;
use std::fmt;

/// An option of a rule.
#[derive(Debug)]
pub struct OptionOf {
    /// The rule.
    pub rule: &'static str,
    /// The option's name in the configuration.
    pub name: OptionName,
    /// What it lists, for people.
    pub about: &'static str,
}

/// The names that options have: few, and the same ones everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionName {
    /// Globs of what the rule shall let pass.
    Allow,
    /// Names that count for the rule beside those that it knows.
    Names,
}

impl OptionName {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            OptionName::Allow => "allow",
            OptionName::Names => "names",
        }
    }
}

/// Every option of every rule. Their pages say the same in a section `Options`.
pub const OPTIONS: &[OptionOf] = &[
    option("arg-baked-env", OptionName::Allow, "build arguments that are meant to be in the image"),
    option("arg-scope-lost", OptionName::Allow, "variables that base images or shells set"),
    option("dockerignore-gap", OptionName::Allow, "paths in the context that are meant to be sent"),
    option("missing-dockerignore", OptionName::Allow, "paths in the context that are meant to be sent"),
    option("moving-remote-fetch", OptionName::Allow, "addresses and packages that may move"),
    option("mutable-base-tag", OptionName::Allow, "images whose tags may move"),
    option("mutable-copy-from", OptionName::Allow, "images whose tags may move"),
    option("volatile-arg-early", OptionName::Allow, "build arguments that seldom change"),
    option("volatile-arg-early", OptionName::Names, "further build arguments that change with every build"),
];

const fn option(rule: &'static str, name: OptionName, about: &'static str) -> OptionOf {
    OptionOf { rule, name, about }
}

/// Values of the options of one rule.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What the rule lets pass.
    pub allow: GlobSet,
    /// What counts beside what it knows.
    pub names: Vec<String>,
}

/// Globs in which `*` stands for anything.
pub fn globs<'g>(patterns: impl IntoIterator<Item = &'g str>) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern)?);
    }
    set.build()
}

/// The rules of a run and how they run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Those that run.
    pub rules: Vec<&'static Rule>,
    /// Other severities than those of the pages, by rule.
    pub severities: HashMap<&'static str, Severity>,
    /// By rule.
    pub options: HashMap<&'static str, Options>,
    /// Whether a comment that silences a rule must say why.
    pub require_reasons: bool,
    /// Comments with an earlier `until` silence nothing; without a date none of them has expired.
    pub today: Option<Date>,
}

impl Settings {
    /// These rules as their pages say.
    pub fn of(rules: Vec<&'static Rule>) -> Self {
        Self {
            rules,
            severities: HashMap::new(),
            options: HashMap::new(),
            require_reasons: false,
            today: None,
        }
    }

    /// Whether a rule runs.
    pub fn runs(&self, rule: &str) -> bool {
        self.rules.iter().any(|r| r.name == rule)
    }

    /// Whether the configuration lets something of that name pass a rule.
    pub fn allows(&self, rule: &Rule, name: &str) -> bool {
        self.options.get(rule.name).is_some_and(|o| o.allow.is_match(name))
    }

    /// Whether some rule needs more than the Dockerfile, as its page says.
    pub fn needs(&self, what: &str) -> bool {
        let says = |rule: &&Rule| {
            super::page::front_matter(rule.page)
                .any(|(key, value)| key == "needs" && value.split(',').any(|word| word.trim() == what))
        };
        self.rules.iter().any(says)
    }

    /// Names that count for a rule beside those that it knows.
    pub fn names(&self, rule: &Rule) -> &[String] {
        self.options.get(rule.name).map_or(&[], |o| o.names.as_slice())
    }
}

impl Default for Settings {
    /// All rules.
    fn default() -> Self {
        Self::of(ALL.to_vec())
    }
}

/// A day of the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// `2027-01-31`; `None` for anything else and for days that do not exist.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut number = |digits: usize| {
            let part = parts.next()?;
            let plain = part.len() == digits && part.bytes().all(|b| b.is_ascii_digit());
            if plain { part.parse::<u16>().ok() } else { None }
        };
        let (year, month, day) = (number(4)?, number(2)?, number(2)?);
        let date = Self { year, month: u8::try_from(month).ok()?, day: u8::try_from(day).ok()? };
        let exists = parts.next().is_none()
            && (1..=12).contains(&month)
            && day >= 1
            && date.day <= date.month_length();
        exists.then_some(date)
    }

    /// The day that is so many days after 1970-01-01.
    pub fn from_days(mut days: u64) -> Self {
        let mut date = Self { year: 1970, month: 1, day: 1 };
        // A century of years and a dozen months: no formula is worth it.
        while date.year < u16::MAX && days >= date.year_length() {
            days -= date.year_length();
            date.year += 1;
        }
        while date.month < 12 && days >= u64::from(date.month_length()) {
            days -= u64::from(date.month_length());
            date.month += 1;
        }
        date.day += u8::try_from(days.min(30)).unwrap_or(0);
        date
    }

    fn is_leap(self) -> bool {
        self.year.is_multiple_of(4) && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400))
    }

    fn year_length(self) -> u64 {
        if self.is_leap() { 366 } else { 365 }
    }

    fn month_length(self) -> u8 {
        match self.month {
            4 | 6 | 9 | 11 => 30,
            2 if self.is_leap() => 29,
            2 => 28,
            _ => 31,
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, text) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (10_956, "1999-12-31"),
            (11_016, "2000-02-29"),
            (20_089, "2025-01-01"),
            (20_453, "2025-12-31"),
        ] {
            assert_eq!(Date::from_days(days).to_string(), text);
            assert_eq!(Date::parse(text), Some(Date::from_days(days)));
        }
    }

    #[test]
    fn what_is_no_day_is_not_read_as_one() {
        for text in [
            "",
            "2027",
            "2027-1-31",
            "2027-02-29",
            "2027-13-01",
            "2027-00-10",
            "27-01-01",
            "2027-01-01-1",
            "+027-01-01",
        ] {
            assert_eq!(Date::parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_option_belongs_to_a_rule_whose_page_tells_of_it() {
        for option in OPTIONS {
            let rule = Rule::named(option.rule).unwrap();
            let (_, section) =
                rule.page.split_once("\n## Options\n").unwrap_or_else(|| panic!("{}", rule.name));
            assert!(
                section.contains(&format!("`{}`", option.name.name())),
                "{} {:?}",
                rule.name,
                option.name
            );
        }
    }
}

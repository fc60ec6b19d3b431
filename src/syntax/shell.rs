//! (to come)
use super::Instruction;
/// x
#[derive(Debug, Clone, Default)]
pub struct Script;
/// x
pub fn script_of(_i: &Instruction) -> Script {
    Script
}

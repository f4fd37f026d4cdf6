//! One operation of each engine at a time, for instruction counts (`vswitch-instructions`) and micro-benchmarks
//! (`cargo bench -p vswitch-bench`). Each case sets up once and then does the same again and again; what it gets is checked
//! when it is made, so that no case measures a refusal.

mod frames;
mod names;
mod nat;
mod switching;
mod tunnel;

/// Does one operation.
pub type Step = Box<dyn FnMut()>;

/// A case: what is done, and what prepares it.
pub struct Case {
    /// Its name, `package/what`.
    pub name: &'static str,
    /// Prepares it.
    pub prepare: fn() -> Step,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// divan shows its arguments.
impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    [frames::CASES, switching::CASES, nat::CASES, tunnel::CASES, names::CASES]
        .into_iter()
        .flatten()
        .map(|&(name, prepare)| Case { name, prepare })
        .collect()
}

/// A package's cases.
type Cases = &'static [(&'static str, fn() -> Step)];

#[cfg(test)]
mod tests {
    /// Every case can be prepared and does its work twice; names are unique.
    #[test]
    fn all_cases_work() {
        let cases = super::all();
        let mut names: Vec<_> = cases.iter().map(|case| case.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases.len());
        for case in cases {
            let mut step = (case.prepare)();
            step();
            step();
        }
    }
}

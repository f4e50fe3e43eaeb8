//! The kind of machine that this is, as far as the speed of a session depends on it.

use std::fs;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Instructions that decide which way of computing is fastest, as the kernel spells them.
const FEATURES: [&str; 17] = [
    "avx2",
    "fma",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "amx_fp16",
    "asimdhp",
    "asimddp",
    "bf16",
    "i8mm",
    "sve",
    "sve2",
];
/// Hexadecimal digits of a machine's digest.
const DIGITS: usize = 12;

/// A kind of machine. Two with the same digest are as good as one for what was measured on either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Name of the processor; the architecture where the kernel tells none.
    pub cpu: String,
    /// Its instructions, of those that matter here.
    pub features: Vec<String>,
    /// Threads that sessions compute with at the same time.
    pub threads: usize,
    /// Names of its GPUs.
    #[serde(default)]
    pub gpus: Vec<String>,
}

impl Machine {
    /// This one, with as many threads for sessions.
    pub fn this(threads: usize) -> Self {
        let told = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self { cpu: cpu_of(&told), features: features_of(&told), threads, gpus: gpus() }
    }

    /// Whether its processor has some instructions.
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|have| have == feature)
    }

    /// Its name in file names.
    pub fn digest(&self) -> String {
        // The fields one by one: how they are written down may change.
        let text = [self.cpu.clone(), self.features.join(" "), self.threads.to_string(), self.gpus.join(",")];
        hex::encode(Sha256::digest(text.join("\n")))[..DIGITS].to_owned()
    }

    /// In a few words.
    pub fn in_words(&self) -> String {
        let gpus = if self.gpus.is_empty() { String::new() } else { format!(", {}", self.gpus.join(", ")) };
        format!("{}, {} threads{gpus}", self.cpu, self.threads)
    }
}

/// The first value of one of `keys` in `/proc/cpuinfo`.
fn value<'a>(told: &'a str, keys: &[&str]) -> Option<&'a str> {
    told.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        keys.contains(&key.trim()).then_some(value.trim())
    })
}

fn cpu_of(told: &str) -> String {
    let parts = || Some(format!("{} {}", value(told, &["CPU implementer"])?, value(told, &["CPU part"])?));
    let name = value(told, &["model name"]).map(str::to_owned).or_else(parts);
    // Virtual machines call different processors by one name; the model number tells them apart.
    let number = value(told, &["model"]).map_or(String::new(), |number| format!(" (model {number})"));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |name| name + &number)
}

fn features_of(told: &str) -> Vec<String> {
    let has: Vec<&str> = value(told, &["flags", "Features"]).unwrap_or_default().split_whitespace().collect();
    FEATURES.into_iter().filter(|feature| has.contains(feature)).map(str::to_owned).collect()
}

/// As NVIDIA's driver tells.
fn gpus() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc/driver/nvidia/gpus") else { return Vec::new() };
    let told = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("information")).ok();
    let mut names: Vec<String> =
        entries.flatten().filter_map(told).filter_map(|text| Some(value(&text, &["Model"])?.to_owned())).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "processor\t: 0\nmodel\t\t: 207\nmodel name\t: Intel(R) Xeon(R) Processor\nflags\t\t: fpu avx2 \
                        avx512_bf16 xyz\n\nprocessor\t: 1\n";

    #[test]
    fn the_kernels_words_are_read() {
        assert_eq!(cpu_of(TOLD), "Intel(R) Xeon(R) Processor (model 207)");
        assert_eq!(features_of(TOLD), ["avx2", "avx512_bf16"]);
        assert_eq!(cpu_of("CPU implementer\t: 0x41\nCPU part\t: 0xd0c\nFeatures\t: asimddp\n"), "0x41 0xd0c");
        assert_eq!(cpu_of(""), std::env::consts::ARCH);
    }

    #[test]
    fn another_number_of_threads_is_another_machine() {
        let (one, two) = (Machine::this(1), Machine::this(2));
        assert_ne!(one.digest(), two.digest());
        assert_eq!(one.digest(), Machine::this(1).digest());
        assert_eq!(one.digest().len(), DIGITS);
    }
}

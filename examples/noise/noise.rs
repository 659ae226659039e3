//! Noise and prior, version 1 of vae-toolchain in Rust: seed and index to latents, the same bits as in every other host.
//!
//!     rustc -O --edition 2021 noise.rs && ./noise normal_table_v1.f32 SEED INDEX LATENT_DIM [prior.npz LABEL]
//!
//! Philox4x32-10 (Salmon et al. 2011) makes the words, a table of 65,536 normal scores makes them normal numbers. With
//! the prior of a bundle, they move to a component of its mixture; LABEL is the number of a class, or -1 for any.

use std::{collections::HashMap, env, error::Error, fs};

const TABLE_SIZE: usize = 65_536;

/// Philox4x32-10: four random words of a counter and a key.
fn philox(mut c: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let product0 = 0xD251_1F53 * u64::from(c[0]);
        let product1 = 0xCD9E_8D57 * u64::from(c[2]);
        c = [
            (product1 >> 32) as u32 ^ c[1] ^ key[0],
            product1 as u32,
            (product0 >> 32) as u32 ^ c[3] ^ key[1],
            product0 as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

/// The random words of a block: stream 0 is the prior, 1 the posterior, 2 the choice of the component.
fn words(seed: u64, index: u64, block: u32, stream: u32) -> [u32; 4] {
    philox([index as u32, (index >> 32) as u32, block, stream], [seed as u32, (seed >> 32) as u32])
}

/// Standard normal; word j of block b feeds latent 4 b + j.
fn latents(table: &[f32], seed: u64, index: u64, latent_dim: usize) -> Vec<f32> {
    let normal = |i: usize| {
        let word = words(seed, index, (i / 4) as u32, 0)[i % 4];
        (table[(word & 0xFFFF) as usize] + table[(word >> 16) as usize]) * std::f32::consts::FRAC_1_SQRT_2
    };
    (0..latent_dim).map(normal).collect()
}

/// Reads 65,536 little-endian floats.
fn read_table(path: &str) -> Result<Vec<f32>, Box<dyn Error>> {
    let content = fs::read(path)?;
    if content.len() != 4 * TABLE_SIZE {
        return Err(format!("{path}: should be {} bytes but is {}", 4 * TABLE_SIZE, content.len()).into());
    }
    Ok(floats(&content))
}

/// A mixture of diagonal Gaussians.
struct Prior {
    shift: Vec<f32>, // (components, latents), one row after the other
    scale: Vec<f32>,
    thresholds: Vec<u32>, // (1 + classes, slots): a row for any class, then one for each
    aliases: Vec<u32>,
    slots: usize,
}

impl Prior {
    /// Reads the prior.npz of a bundle and proves that no draw leaves its arrays.
    fn read(path: &str, latent_dim: usize) -> Result<Prior, Box<dyn Error>> {
        let zip = fs::read(path)?;
        let arrays = arrays(&zip).ok_or(format!("{path}: is no uncompressed .npz"))?;
        let array = |name: &str| arrays.get(name).copied().unwrap_or_default();
        let classes_of = array("component_class.npy").chunks_exact(8);
        let components = classes_of.len();
        let number = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().unwrap_or_default());
        let classes = classes_of.map(number).max().unwrap_or(-1).clamp(-1, 65_535) + 1;
        let (thresholds, aliases) = (integers(array("thresholds.npy")), integers(array("aliases.npy")));
        let slots = thresholds.len() / (1 + classes as usize);
        let prior = Prior { shift: floats(array("shift.npy")), scale: floats(array("scale.npy")), thresholds, aliases, slots };
        let drawn = |(place, (&threshold, &alias)): (usize, (&u32, &u32))| {
            threshold <= 65_536
                && (threshold == 0 || place % slots < components)
                && (threshold == 65_536 || (alias as usize) < components)
        };
        let fits = (2..=65_536).contains(&slots)
            && slots.is_power_of_two()
            && prior.thresholds.len() == slots * (1 + classes as usize)
            && prior.aliases.len() == prior.thresholds.len()
            && prior.shift.len() == components * latent_dim
            && prior.scale.len() == prior.shift.len()
            && prior.thresholds.iter().zip(&prior.aliases).enumerate().all(drawn);
        if !fits {
            return Err(format!("{path}: its arrays do not fit together, or are not for {latent_dim} latents").into());
        }
        Ok(prior)
    }

    /// Component of sample `index` of `seed`. label: number of a class, or -1 for any; None where there is none such.
    fn component(&self, seed: u64, index: u64, label: i64) -> Option<usize> {
        let row = usize::try_from(label.checked_add(1)?).ok()?;
        let word = words(seed, index, 0, 2)[0];
        let slot = (word >> (32 - self.slots.trailing_zeros())) as usize;
        let place = row.checked_mul(self.slots)?.checked_add(slot)?;
        Some(if word & 0xFFFF < *self.thresholds.get(place)? { slot } else { self.aliases[place] as usize })
    }

    /// Normal noise moved to the component of sample `index` of `seed`. Rust never fuses a product with a sum.
    fn moved(&self, noise: &[f32], seed: u64, index: u64, label: i64, temperature: f32) -> Option<Vec<f32>> {
        let from = self.component(seed, index, label)? * noise.len();
        let place = self.shift[from..].iter().zip(&self.scale[from..]);
        Some(noise.iter().zip(place).map(|(n, (shift, scale))| (n * temperature + shift) * scale).collect())
    }
}

/// Name and bytes of each array of an uncompressed .npz.
fn arrays(zip: &[u8]) -> Option<HashMap<String, &[u8]>> {
    let mut found = HashMap::new();
    let mut at = 0;
    let short = |at: usize| Some(u16::from_le_bytes(zip.get(at..at + 2)?.try_into().ok()?) as usize);
    while zip.get(at..at + 4)? == b"PK\x03\x04" {
        let (method, name, extra) = (short(at + 8)?, short(at + 26)?, short(at + 28)?);
        let size = u32::from_le_bytes(zip.get(at + 18..at + 22)?.try_into().ok()?) as usize;
        let start = at + 30 + name + extra;
        let header = 10 + short(start + 8)?; // of a .npy of version 1
        if method != 0 || header > size {
            return None;
        }
        let name = String::from_utf8_lossy(zip.get(at + 30..at + 30 + name)?).into_owned();
        found.insert(name, zip.get(start + header..start + size)?);
        at = start + size;
    }
    Some(found)
}

fn integers(content: &[u8]) -> Vec<u32> {
    content.chunks_exact(4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
}

fn floats(content: &[u8]) -> Vec<f32> {
    integers(content).into_iter().map(f32::from_bits).collect()
}

fn check_known_answers(table: &[f32]) -> Result<(), Box<dyn Error>> {
    let counter = [0x243F_6A88, 0x85A3_08D3, 0x1319_8A2E, 0x0370_7344]; // Random123's known answer
    if philox(counter, [0xA409_3822, 0x299F_31D0]) != [0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1] {
        return Err("Philox4x32-10 differs from its known answer".into());
    }
    let bits = |z: Vec<f32>| z.into_iter().map(f32::to_bits).collect::<Vec<u32>>();
    if bits(latents(table, 7, 5, 4)) != [0xBF16_9944, 0x3E88_39CA, 0x400F_639C, 0x3F89_8DBB] {
        return Err("the latents of seed 7, index 5 differ from their known answers".into());
    }
    let prior = Prior {
        // of weights 1, 2, 5, in docs/embedding.md
        shift: vec![-2.0, 0.5, 0.0, 0.0, 8.0, -4.0],
        scale: vec![0.5, 1.0, 1.0, 2.0, 0.25, 0.75],
        thresholds: vec![32_768, 65_536, 65_536, 0],
        aliases: vec![2, 1, 2, 2],
        slots: 4,
    };
    let components = (0..12).map_while(|index| prior.component(7, index, -1));
    if !components.eq([0, 0, 1, 2, 2, 0, 1, 2, 2, 0, 2, 2]) {
        return Err("the components of seed 7 differ from their known answers".into());
    }
    if prior.moved(&latents(table, 7, 5, 2), 7, 5, -1, 1.0).map(bits) != Some(vec![0xBFA5_A651, 0x3F44_1CE5]) {
        return Err("the mixture's latents of seed 7, index 5 differ from their known answers".into());
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    let (table, seed, index, latent_dim, prior) = match arguments.as_slice() {
        [_, table, seed, index, latent_dim] => (table, seed, index, latent_dim, None),
        [_, table, seed, index, latent_dim, prior, label] => (table, seed, index, latent_dim, Some((prior, label))),
        _ => return Err("usage: noise TABLE SEED INDEX LATENT_DIM [PRIOR LABEL]".into()),
    };
    let (table, seed, index, latent_dim) = (read_table(table)?, seed.parse()?, index.parse()?, latent_dim.parse()?);
    check_known_answers(&table)?;
    let mut found = latents(&table, seed, index, latent_dim);
    if let Some((prior, label)) = prior {
        let moved = Prior::read(prior, latent_dim)?.moved(&found, seed, index, label.parse()?, 1.0);
        found = moved.ok_or(format!("there is no class {label}"))?;
    }
    for z in found {
        println!("{:08x} {z}", z.to_bits());
    }
    Ok(())
}

//! Noise version 1 of vae-toolchain in Rust: seed and index to latents, the same bits as in every other host.
//!
//!     rustc -O --edition 2021 noise.rs && ./noise normal_table_v1.f32 SEED INDEX LATENT_DIM
//!
//! Philox4x32-10 (Salmon et al. 2011) makes the words, a table of 65,536 normal scores makes them normal numbers.

use std::{env, error::Error, fs};

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
    Ok(content.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    let [_, table, seed, index, latent_dim] = arguments.as_slice() else {
        return Err("usage: noise TABLE SEED INDEX LATENT_DIM".into());
    };
    let table = read_table(table)?;
    let counter = [0x243F_6A88, 0x85A3_08D3, 0x1319_8A2E, 0x0370_7344]; // Random123's known answer
    if philox(counter, [0xA409_3822, 0x299F_31D0]) != [0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1] {
        return Err("Philox4x32-10 differs from its known answer".into());
    }
    let known: Vec<u32> = latents(&table, 7, 5, 4).iter().map(|z| z.to_bits()).collect();
    if known != [0xBF16_9944, 0x3E88_39CA, 0x400F_639C, 0x3F89_8DBB] {
        return Err("the latents of seed 7, index 5 differ from their known answers".into());
    }
    for z in latents(&table, seed.parse()?, index.parse()?, latent_dim.parse()?) {
        println!("{:08x} {z}", z.to_bits());
    }
    Ok(())
}

//! Seed and index to a picture: sample SEED INDEX PICTURE, a PGM (gray) or PPM (colour) file.

use std::{env, fs, process::exit};

#[link(name = "generator", kind = "static")]
extern "C" {
    static IMAGE_SHAPE: [i32; 3];
    fn vae_self_test() -> i32;
    fn vae_sample(seed: u64, index: u64, label: i64, temperature: f32, pixels: *mut u8) -> i32;
}

/// One image, (height, width, channels), or an error code of generator.h.
fn sample(seed: u64, index: u64) -> Result<Vec<u8>, i32> {
    let mut pixels = vec![0; unsafe { IMAGE_SHAPE }.iter().map(|&size| size as usize).product()];
    // SAFETY: the buffer has the size that generator.h asks for.
    match unsafe { vae_sample(seed, index, -1, 1.0, pixels.as_mut_ptr()) } {
        0 => Ok(pixels),
        code => Err(code),
    }
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let numbers: Option<Vec<u64>> = arguments.iter().skip(1).take(2).map(|text| text.parse().ok()).collect();
    let (Some(numbers), 4) = (numbers, arguments.len()) else {
        eprintln!("usage: sample SEED INDEX PICTURE");
        exit(2);
    };
    let tested = unsafe { vae_self_test() };
    let pixels = if tested == 0 { sample(numbers[0], numbers[1]) } else { Err(tested) };
    let [channels, height, width] = unsafe { IMAGE_SHAPE };
    let kind = if channels == 1 { 5 } else { 6 };
    let mut picture = format!("P{kind}\n{width} {height}\n255\n").into_bytes();
    picture.extend(pixels.unwrap_or_else(|code| {
        eprintln!("sample: error {code}, see generator.h");
        exit(1);
    }));
    if let Err(error) = fs::write(&arguments[3], picture) {
        eprintln!("{}: {error}", arguments[3]);
        exit(1);
    }
}

//! What test_conformance.py asks of a host, through the example in Rust: probe LATENTS IMAGES SEED... -- INDEX... [-- LABEL...]

use std::{env, fs, time::Instant};

mod generator;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let lists: Vec<Vec<i64>> = arguments[2..]
        .split(|word| word == "--")
        .map(|words| words.iter().map(|word| word.parse().unwrap()).collect())
        .collect();
    generator::self_test().unwrap();
    let (mut latents, mut images) = (Vec::new(), Vec::new());
    for &seed in &lists[0] {
        for (place, &index) in lists[1].iter().enumerate() {
            let label = *lists.get(2).and_then(|labels| labels.get(place)).unwrap_or(&generator::ANY_CLASS);
            let z = generator::latents(seed as u64, index as u64, label, 1.0).unwrap();
            latents.extend(z.iter().flat_map(|value| value.to_le_bytes()));
            images.extend(generator::sample(seed as u64, index as u64, label, 1.0).unwrap());
        }
    }
    fs::write(&arguments[0], latents).unwrap();
    fs::write(&arguments[1], images).unwrap();
    let mut times: Vec<f64> = (0..220)
        .map(|index| {
            let start = Instant::now();
            generator::sample(0, index, generator::ANY_CLASS, 1.0).unwrap();
            start.elapsed().as_secs_f64()
        })
        .skip(20)
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{{\"ms\": {}}}", 1000.0 * times[times.len() / 2]);
}

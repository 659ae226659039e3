//! Seed and index to a picture: sample SEED INDEX PICTURE [CLASS], a PGM (gray) or PPM (colour) file.

use std::{env, error::Error, fs, process::exit};

#[allow(dead_code)] // `latents`, which this program does not call
mod generator;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.len() != 3 && arguments.len() != 4 {
        eprintln!("usage: sample SEED INDEX PICTURE [CLASS]");
        exit(2);
    }
    if let Err(error) = draw(&arguments) {
        eprintln!("{error}");
        exit(1);
    }
}

fn draw(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let refused = |code| format!("error {code}, see generator.h");
    let label = arguments.get(3).map_or(Ok(generator::ANY_CLASS), |text| text.parse())?;
    generator::self_test().map_err(refused)?;
    let pixels = generator::sample(arguments[0].parse()?, arguments[1].parse()?, label, 1.0).map_err(refused)?;
    let [channels, height, width] = generator::image_shape();
    let kind = if channels == 1 { 5 } else { 6 };
    let mut picture = format!("P{kind}\n{width} {height}\n255\n").into_bytes();
    picture.extend(pixels);
    fs::write(&arguments[2], picture).map_err(|error| format!("{}: {error}", arguments[2]).into())
}

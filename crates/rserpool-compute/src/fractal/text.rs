//! Scenes as text that people write: one `key = value` per line, `#` begins a comment, order does not matter. What is
//! not said is as in the default scene.
//!
//! ```text
//!   set = julia -0.4 0.6        # or: mandelbrot
//!   size = 1280x720
//!   center = 0.0 0.0            # real and imaginary part
//!   span = 3.2                  # what the width measures
//!   iterations = 500
//!   samples = 2                 # per pixel, along each side
//! ```

use super::{Scene, Set};
use std::fmt;
use std::str::FromStr;

/// Why a text is no scene.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SceneError {
    /// The line, from 1; 0: the scene as a whole.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for SceneError {
    /// `line 3: iterations must be a number, not 'many'`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.why),
            line => write!(f, "line {line}: {}", self.why),
        }
    }
}

impl std::error::Error for SceneError {}

impl FromStr for Scene {
    type Err = SceneError;

    fn from_str(text: &str) -> Result<Self, SceneError> {
        let mut scene = Self::default();
        for (number, line) in text.lines().enumerate() {
            let said = line.split('#').next().unwrap_or_default().trim();
            if !said.is_empty() {
                setting(&mut scene, said).map_err(|why| SceneError { line: number + 1, why })?;
            }
        }
        scene.check().map_err(|why| SceneError { line: 0, why: why.to_owned() })?;
        Ok(scene)
    }
}

impl fmt::Display for Scene {
    /// The text that parses to this scene.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.set {
            Set::Mandelbrot => writeln!(f, "set = mandelbrot")?,
            Set::Julia { re, im } => writeln!(f, "set = julia {re} {im}")?,
        }
        writeln!(f, "size = {}x{}", self.width, self.height)?;
        writeln!(f, "center = {} {}", self.center.0, self.center.1)?;
        writeln!(f, "span = {}", self.span)?;
        writeln!(f, "iterations = {}", self.iterations)?;
        writeln!(f, "samples = {}", self.samples)
    }
}

fn setting(scene: &mut Scene, said: &str) -> Result<(), String> {
    let (key, value) = said.split_once('=').ok_or_else(|| format!("'{said}' is no 'key = value'"))?;
    let (key, value) = (key.trim(), value.trim());
    match key {
        "set" => {
            scene.set = match value.split_once(char::is_whitespace) {
                None if value == "mandelbrot" => Set::Mandelbrot,
                Some(("julia", c)) => {
                    let (re, im) = pair(key, c)?;
                    Set::Julia { re, im }
                }
                _ => return Err(format!("set must be 'mandelbrot' or 'julia RE IM', not '{value}'")),
            }
        }
        "size" => {
            let (width, height) =
                value.split_once('x').ok_or_else(|| format!("size must be WIDTHxHEIGHT, not '{value}'"))?;
            (scene.width, scene.height) = (number(key, width)?, number(key, height)?);
        }
        "center" => scene.center = pair(key, value)?,
        "span" => scene.span = number(key, value)?,
        "iterations" => scene.iterations = number(key, value)?,
        "samples" => scene.samples = number(key, value)?,
        _ => {
            return Err(format!(
                "no setting '{key}'; there are set, size, center, span, iterations and samples"
            ));
        }
    }
    Ok(())
}

fn number<T: FromStr>(key: &str, value: &str) -> Result<T, String> {
    value.trim().parse().map_err(|_| format!("{key} must be a number in range, not '{}'", value.trim()))
}

fn pair(key: &str, value: &str) -> Result<(f64, f64), String> {
    match value.trim().split_once(char::is_whitespace) {
        Some((re, im)) => Ok((number(key, re)?, number(key, im)?)),
        None => Err(format!("{key} must be two numbers, not '{value}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_is_its_text() {
        let julia = Scene {
            set: Set::Julia { re: -0.4, im: 0.6 },
            width: 1280,
            height: 720,
            center: (0.0, 0.25),
            span: 3.2,
            iterations: 500,
            samples: 1,
        };
        for scene in [Scene::default(), julia.clone()] {
            assert_eq!(scene.to_string().parse(), Ok(scene));
        }
        let written = "# my picture\n\n samples=1 # coarse\nset = julia -0.4 0.6\nsize = 1280x720\n\
                       center = 0 0.25\nspan = 3.2\niterations = 500\n";
        assert_eq!(written.parse(), Ok(julia));
        assert_eq!("".parse(), Ok(Scene::default()));
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let said = |text: &str| text.parse::<Scene>().map_err(|error| error.to_string());
        let refused = |text: &str, why: &str| assert_eq!(said(text), Err(why.to_owned()));
        refused("span = 1\niterations = many", "line 2: iterations must be a number in range, not 'many'");
        refused("iterations = -1", "line 1: iterations must be a number in range, not '-1'");
        refused("hello", "line 1: 'hello' is no 'key = value'");
        refused("size = 100", "line 1: size must be WIDTHxHEIGHT, not '100'");
        refused("set = newton", "line 1: set must be 'mandelbrot' or 'julia RE IM', not 'newton'");
        refused("center = 1", "line 1: center must be two numbers, not '1'");
        refused(
            "colour = red",
            "line 1: no setting 'colour'; there are set, size, center, span, iterations and samples",
        );
        refused("span = inf", "span must be a number above 0, up to 1000");
        refused("size = 0x5", "width and height must be 1 to 65536");
    }
}

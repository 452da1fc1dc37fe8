//! Pictures of Mandelbrot and Julia sets: work that is easy to split, takes its time and shows whether it is right.
//!
//! A [`Scene`] describes the whole picture, [`Scene::tiles`] splits it, [`Scene::render`] computes one tile, and a
//! [`Picture`] puts the tiles together. The colour of a pixel depends on the scene and its place alone, and is computed
//! with nothing but additions, multiplications and comparisons of `f64`: the same octets on every machine, whoever
//! computed which tile and how often it was repeated.

mod picture;
mod render;
mod text;

use crate::codec::{Reader, WireError};
pub use picture::{Picture, PlaceError};
pub use render::TileRun;
pub use text::SceneError;

/// Largest width and height of a picture, in pixels.
pub const SIDE_MAX: u32 = 65_536;

/// Most pixels of a picture: 400 MB of colours.
pub const PICTURE_MAX: u64 = 1 << 27;

/// Most pixels of one tile: 3 MiB of colours.
pub const TILE_MAX: u64 = 1 << 20;

/// Most iterations per point.
pub const ITERATIONS_MAX: u32 = 10_000_000;

/// Most points per pixel, along each side.
pub const SAMPLES_MAX: u32 = 8;

/// Which set to draw. Both iterate z := z² + c until |z| > 2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Set {
    /// z begins at 0, c is the point.
    Mandelbrot,
    /// z begins at the point, c is the same for all.
    Julia {
        /// Real part of c.
        re: f64,
        /// Imaginary part of c.
        im: f64,
    },
}

/// A picture to compute. [`Scene::check`] says whether it is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// Of which set.
    pub set: Set,
    /// Pixels from left to right, 1 to [`SIDE_MAX`].
    pub width: u32,
    /// Pixels from top to bottom, 1 to [`SIDE_MAX`]; at most [`PICTURE_MAX`] in all.
    pub height: u32,
    /// The point in the middle: real and imaginary part, from -1,000 to 1,000.
    pub center: (f64, f64),
    /// What the width of the picture measures in the plane, above 0 and up to 1,000. Pixels are square.
    pub span: f64,
    /// After that many iterations a point counts as inside, 1 to [`ITERATIONS_MAX`].
    pub iterations: u32,
    /// Points per pixel along each side, 1 to [`SAMPLES_MAX`]; their colours are averaged.
    pub samples: u32,
}

impl Default for Scene {
    /// A spiral at the edge of the Mandelbrot set, as large as a screen: about ten seconds of work for two cores in a
    /// release build, which is enough to watch workers come and go.
    fn default() -> Self {
        Self {
            set: Set::Mandelbrot,
            width: 2560,
            height: 1440,
            center: (-0.743_643_887, 0.131_825_904),
            span: 0.003,
            iterations: 1600,
            samples: 5,
        }
    }
}

/// A part of a picture, in pixels from its upper left corner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rect {
    #[allow(missing_docs)]
    pub left: u32,
    #[allow(missing_docs)]
    pub top: u32,
    #[allow(missing_docs)]
    pub width: u32,
    #[allow(missing_docs)]
    pub height: u32,
}

impl Rect {
    /// How many pixels it has.
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// True if it is a tile of the scene: not empty, not above [`TILE_MAX`], and nowhere outside.
    pub fn is_inside(&self, scene: &Scene) -> bool {
        let fits = |start: u32, length: u32, whole: u32| {
            length > 0 && start.checked_add(length).is_some_and(|end| end <= whole)
        };
        self.pixels() <= TILE_MAX
            && fits(self.left, self.width, scene.width)
            && fits(self.top, self.height, scene.height)
    }
}

impl Scene {
    /// What is wrong with the scene, if anything, as "… must …".
    pub fn check(&self) -> Result<(), &'static str> {
        let julia = match self.set {
            Set::Mandelbrot => (0.0, 0.0),
            Set::Julia { re, im } => (re, im),
        };
        let near = |value: f64| value.is_finite() && value.abs() <= 1000.0;
        if !(1..=SIDE_MAX).contains(&self.width) || !(1..=SIDE_MAX).contains(&self.height) {
            Err("width and height must be 1 to 65536")
        } else if u64::from(self.width) * u64::from(self.height) > PICTURE_MAX {
            Err("the picture must have at most 134217728 pixels")
        } else if ![self.center.0, self.center.1, julia.0, julia.1].into_iter().all(near) {
            Err("points must be numbers from -1000 to 1000")
        } else if !near(self.span) || self.span <= 0.0 {
            Err("span must be a number above 0, up to 1000")
        } else if !(1..=ITERATIONS_MAX).contains(&self.iterations) {
            Err("iterations must be 1 to 10000000")
        } else if !(1..=SAMPLES_MAX).contains(&self.samples) {
            Err("samples must be 1 to 8")
        } else {
            Ok(())
        }
    }

    /// The tiles of the picture, row by row, each of this size except at the right and lower edge. Sides of 0 count as
    /// 1, and a tile above [`TILE_MAX`] is made lower. Together they cover each pixel once.
    pub fn tiles(&self, width: u32, height: u32) -> impl Iterator<Item = Rect> + use<> {
        let (whole_width, whole_height) = (self.width, self.height);
        let width = width.clamp(1, SIDE_MAX);
        let height = u64::from(height.max(1)).min(TILE_MAX / u64::from(width)) as u32;
        (0..whole_height.div_ceil(height)).flat_map(move |row| {
            (0..whole_width.div_ceil(width)).map(move |column| {
                let (left, top) = (column * width, row * height);
                Rect {
                    left,
                    top,
                    width: width.min(whole_width - left),
                    height: height.min(whole_height - top),
                }
            })
        })
    }

    /// Set (1), reserved (3), width, height, iterations, samples (4 each), then as binary64: center, span, c of Julia.
    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        let (set, re, im) = match self.set {
            Set::Mandelbrot => (1, 0.0, 0.0),
            Set::Julia { re, im } => (2, re, im),
        };
        out.extend([set, 0, 0, 0]);
        for number in [self.width, self.height, self.iterations, self.samples] {
            out.extend(number.to_be_bytes());
        }
        for number in [self.center.0, self.center.1, self.span, re, im] {
            out.extend(number.to_be_bytes());
        }
    }

    pub(crate) fn parse(body: &mut Reader<'_>) -> Result<Self, WireError> {
        let offset = body.offset();
        let [set, _, _, _] = body.array()?;
        let [width, height, iterations, samples] = [body.u32()?, body.u32()?, body.u32()?, body.u32()?];
        let mut number = || body.array().map(f64::from_be_bytes);
        let (center, span) = ((number()?, number()?), number()?);
        let (re, im) = (number()?, number()?);
        let set = match set {
            1 => Set::Mandelbrot,
            2 => Set::Julia { re, im },
            _ => return Err(WireError::Unknown { offset, what: "set", found: set.into() }),
        };
        let scene = Self { set, width, height, center, span, iterations, samples };
        scene.check().map_err(|rule| WireError::Invalid { offset, rule })?;
        Ok(scene)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_each_pixel_once() {
        let scene = Scene { width: 100, height: 37, ..Scene::default() };
        for (width, height) in [(100, 37), (1, 1), (7, 5), (200, 3), (0, 10), (64, u32::MAX)] {
            let mut covered = vec![0u8; 3700];
            for tile in scene.tiles(width, height) {
                assert!(tile.is_inside(&scene), "{tile:?}");
                for y in tile.top..tile.top + tile.height {
                    for x in tile.left..tile.left + tile.width {
                        covered[(y * 100 + x) as usize] += 1;
                    }
                }
            }
            assert!(covered.iter().all(|&times| times == 1), "{width} x {height}");
        }
        let largest = Scene { width: SIDE_MAX, height: 2048, ..Scene::default() };
        assert_eq!(largest.check(), Ok(()));
        assert_eq!(largest.tiles(u32::MAX, u32::MAX).next().map(|tile| tile.pixels()), Some(TILE_MAX));
    }

    #[test]
    fn a_scene_out_of_bounds_says_which() {
        let broken = |change: fn(&mut Scene)| {
            let mut scene = Scene::default();
            change(&mut scene);
            scene.check()
        };
        assert_eq!(Scene::default().check(), Ok(()));
        assert_eq!(broken(|s| s.width = 0), Err("width and height must be 1 to 65536"));
        assert_eq!(broken(|s| s.height = 65_537), Err("width and height must be 1 to 65536"));
        assert_eq!(
            broken(|s| (s.width, s.height) = (65_536, 65_536)),
            Err("the picture must have at most 134217728 pixels")
        );
        assert_eq!(broken(|s| s.center.1 = f64::NAN), Err("points must be numbers from -1000 to 1000"));
        assert_eq!(
            broken(|s| s.set = Set::Julia { re: f64::INFINITY, im: 0.0 }),
            Err("points must be numbers from -1000 to 1000")
        );
        assert_eq!(broken(|s| s.span = 0.0), Err("span must be a number above 0, up to 1000"));
        assert_eq!(broken(|s| s.iterations = 0), Err("iterations must be 1 to 10000000"));
        assert_eq!(broken(|s| s.samples = 9), Err("samples must be 1 to 8"));
    }
}

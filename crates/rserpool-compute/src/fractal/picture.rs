//! Putting tiles together.

use super::{Rect, Scene};
use std::fmt;

/// A picture that fills up tile by tile; black where nothing was placed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    colours: Vec<u8>,
}

/// Why a tile cannot be placed. The picture is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceError {
    /// It is not inside of the picture.
    Outside,
    /// Its octets are not three for each of its pixels.
    WrongSize {
        /// How many there should be.
        needed: u64,
        /// How many there are.
        found: u64,
    },
}

impl fmt::Display for PlaceError {
    /// Reads well after "cannot place the tile: ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside => f.write_str("it is outside of the picture"),
            Self::WrongSize { needed, found } => write!(f, "{needed} octets needed, {found} found"),
        }
    }
}

impl std::error::Error for PlaceError {}

impl Picture {
    /// A black picture of the scene's size.
    pub fn of(scene: &Scene) -> Self {
        let octets = scene.width as usize * scene.height as usize * 3;
        Self { width: scene.width, height: scene.height, colours: vec![0; octets] }
    }

    /// Places the colours of a tile, as [`Scene::render`] gives them.
    pub fn place(&mut self, tile: &Rect, colours: &[u8]) -> Result<(), PlaceError> {
        let right = u64::from(tile.left) + u64::from(tile.width);
        let bottom = u64::from(tile.top) + u64::from(tile.height);
        if right > self.width.into() || bottom > self.height.into() {
            return Err(PlaceError::Outside);
        }
        let (needed, found) = (tile.pixels() * 3, colours.len() as u64);
        if needed != found {
            return Err(PlaceError::WrongSize { needed, found });
        }
        let row = tile.width as usize * 3;
        for (y, colours) in colours.chunks_exact(row.max(1)).enumerate() {
            let start = ((tile.top as usize + y) * self.width as usize + tile.left as usize) * 3;
            self.colours[start..start + row].copy_from_slice(colours);
        }
        Ok(())
    }

    /// Pixels from left to right.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Pixels from top to bottom.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Three octets per pixel (red, green, blue), row by row.
    pub fn colours(&self) -> &[u8] {
        &self.colours
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_in_any_order_make_the_picture() {
        let scene = Scene { width: 20, height: 11, iterations: 30, ..Scene::default() };
        let mut tiles: Vec<_> = scene.tiles(6, 4).collect();
        tiles.reverse();
        let mut picture = Picture::of(&scene);
        for tile in &tiles {
            picture.place(tile, &scene.render(tile)).expect("inside");
            picture.place(tile, &scene.render(tile)).expect("twice does no harm");
        }
        assert_eq!(picture.colours(), scene.render(&Rect { left: 0, top: 0, width: 20, height: 11 }));
    }

    #[test]
    fn a_tile_that_does_not_fit_changes_nothing() {
        let scene = Scene { width: 4, height: 4, ..Scene::default() };
        let mut picture = Picture::of(&scene);
        let outside = Rect { left: u32::MAX, top: 0, width: 2, height: 1 };
        assert_eq!(picture.place(&outside, &[1; 6]), Err(PlaceError::Outside));
        let inside = Rect { left: 3, top: 3, width: 1, height: 1 };
        let refused = picture.place(&inside, &[1; 4]);
        assert_eq!(refused, Err(PlaceError::WrongSize { needed: 3, found: 4 }));
        assert!(picture.colours().iter().all(|&octet| octet == 0));
    }
}

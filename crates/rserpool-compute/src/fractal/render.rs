//! Computing the pixels of a tile.

use super::{Rect, Scene, Set};

impl Scene {
    /// The colours of a tile, three octets per pixel (red, green, blue), row by row. The scene has to pass
    /// [`Scene::check`] and the tile [`Rect::is_inside`].
    pub fn render(&self, tile: &Rect) -> Vec<u8> {
        let mut colours = Vec::with_capacity(tile.pixels() as usize * 3);
        for y in 0..tile.height {
            self.render_row(tile, y, &mut colours);
        }
        colours
    }

    /// Appends the colours of row `y` of a tile, counted from its top: the smallest piece a worker can stop after.
    pub fn render_row(&self, tile: &Rect, y: u32, colours: &mut Vec<u8>) {
        for x in 0..tile.width {
            colours.extend(self.pixel(tile.left + x, tile.top + y));
        }
    }

    fn pixel(&self, x: u32, y: u32) -> [u8; 3] {
        let samples = f64::from(self.samples);
        let mut sum = [0u32; 3];
        for sub_y in 0..self.samples {
            for sub_x in 0..self.samples {
                // In pixels, from the middle of the picture; the point is in the middle of its share of the pixel.
                let right = f64::from(x) + (f64::from(sub_x) + 0.5) / samples - f64::from(self.width) / 2.0;
                let down = f64::from(y) + (f64::from(sub_y) + 0.5) / samples - f64::from(self.height) / 2.0;
                let pixel = self.span / f64::from(self.width);
                let count = self.iterate(self.center.0 + right * pixel, self.center.1 - down * pixel);
                for (sum, part) in sum.iter_mut().zip(colour(count)) {
                    *sum += u32::from(part);
                }
            }
        }
        sum.map(|sum| (sum / (self.samples * self.samples)) as u8)
    }

    /// After how many iterations the point leaves; `None`: it stays.
    fn iterate(&self, re: f64, im: f64) -> Option<u32> {
        let ((mut x, mut y), (c_re, c_im)) = match self.set {
            Set::Mandelbrot => ((0.0, 0.0), (re, im)),
            Set::Julia { re: c_re, im: c_im } => ((re, im), (c_re, c_im)),
        };
        for count in 0..self.iterations {
            let (xx, yy) = (x * x, y * y);
            if xx + yy > 4.0 {
                return Some(count);
            }
            y = 2.0 * x * y + c_im;
            x = xx - yy + c_re;
        }
        None
    }
}

/// A tile on its way, row by row, so that a worker can report output and checkpoints in between, and stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileRun {
    tile: Rect,
    rows: u32,
}

impl TileRun {
    /// Nothing is computed yet.
    pub fn new(tile: Rect) -> Self {
        Self { tile, rows: 0 }
    }

    /// Goes on from a [`TileRun::state`]; `None` if it is none of this tile.
    pub fn resume(tile: Rect, state: &[u8]) -> Option<Self> {
        let rows = u32::from_be_bytes(state.try_into().ok()?);
        (rows <= tile.height).then_some(Self { tile, rows })
    }

    /// How far it is, for a checkpoint: the number of rows.
    pub fn state(&self) -> [u8; 4] {
        self.rows.to_be_bytes()
    }

    /// Octets of colours computed so far.
    pub fn octets(&self) -> u64 {
        u64::from(self.rows) * u64::from(self.tile.width) * 3
    }

    /// The colours of the next row, or `None` if the tile is complete.
    pub fn next_row(&mut self, scene: &Scene) -> Option<Vec<u8>> {
        if self.rows == self.tile.height {
            return None;
        }
        let mut colours = Vec::with_capacity(self.tile.width as usize * 3);
        scene.render_row(&self.tile, self.rows, &mut colours);
        self.rows += 1;
        Some(colours)
    }
}

/// Inside is black; outside runs through dark blue, white, orange and back, once in 256 iterations.
fn colour(count: Option<u32>) -> [u8; 3] {
    const STOPS: [[i32; 3]; 4] = [[0, 7, 100], [237, 255, 255], [255, 170, 0], [70, 10, 30]];
    let Some(count) = count else { return [0, 0, 0] };
    let place = (count % 256) as i32;
    let (from, to) = (STOPS[(place / 64) as usize], STOPS[((place / 64 + 1) % 4) as usize]);
    let along = place % 64;
    [0, 1, 2].map(|part| (from[part] + (to[part] - from[part]) * along / 64) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(set: Set) -> Scene {
        Scene { set, width: 8, height: 6, center: (-0.5, 0.0), span: 3.0, iterations: 50, samples: 2 }
    }

    #[test]
    fn points_inside_stay_and_points_outside_leave() {
        let scene = small(Set::Mandelbrot);
        assert_eq!(scene.iterate(0.0, 0.0), None);
        assert_eq!(scene.iterate(-1.0, 0.0), None);
        // By hand: 0, 1, 2, 5: |z| > 2 is seen at the third.
        assert_eq!(scene.iterate(1.0, 0.0), Some(3));
        assert_eq!(scene.iterate(3.0, 0.0), Some(1));
        let julia = small(Set::Julia { re: 0.0, im: 0.0 });
        assert_eq!(julia.iterate(0.5, 0.5), None);
        assert_eq!(julia.iterate(1.5, 0.0), Some(1));
    }

    #[test]
    fn tiles_are_cut_out_of_the_whole() {
        for set in [Set::Mandelbrot, Set::Julia { re: -0.4, im: 0.6 }] {
            let scene = small(set);
            let whole = scene.render(&Rect { left: 0, top: 0, width: 8, height: 6 });
            assert_eq!(whole.len(), 8 * 6 * 3);
            for tile in scene.tiles(3, 4) {
                let colours = scene.render(&tile);
                for y in 0..tile.height {
                    let from = ((tile.top + y) * 8 + tile.left) as usize * 3;
                    let row = (y * tile.width) as usize * 3;
                    let length = tile.width as usize * 3;
                    assert_eq!(colours[row..row + length], whole[from..from + length], "{tile:?} row {y}");
                }
            }
        }
    }

    #[test]
    fn a_tile_goes_on_where_another_worker_stopped() {
        let scene = small(Set::Mandelbrot);
        let tile = Rect { left: 2, top: 1, width: 5, height: 4 };
        let mut first = TileRun::new(tile);
        let mut colours = [first.next_row(&scene), first.next_row(&scene)].map(Option::unwrap).concat();
        assert_eq!(first.octets(), colours.len() as u64);
        let mut second = TileRun::resume(tile, &first.state()).expect("of this tile");
        while let Some(row) = second.next_row(&scene) {
            colours.extend(row);
        }
        assert_eq!(colours, scene.render(&tile));
        assert_eq!(TileRun::resume(tile, &[0, 0, 0, 5]), None);
        assert_eq!(TileRun::resume(tile, &[0, 0]), None);
    }

    #[test]
    fn colours_are_those_of_the_table() {
        assert_eq!(colour(None), [0, 0, 0]);
        assert_eq!(colour(Some(0)), [0, 7, 100]);
        assert_eq!(colour(Some(64)), [237, 255, 255]);
        assert_eq!(colour(Some(160)), [163, 90, 15]);
        assert_eq!(colour(Some(256)), colour(Some(0)));
    }
}

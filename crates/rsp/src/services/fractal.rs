//! The fractal generator on a machine: threads that compute, files with scenes, PNG pictures.

use super::cli::{ClientFractal, ServeFractal};
use super::user::{Front, Plan, Tell, Turn};
use super::{element, pool, user};
use crate::exit::{Code, Failure};
use crate::process::{self, say};
use rserpool::{Random, Time};
use rserpool_compute::application::fractal::{
    Algorithm, Compute, Config, Generator, Painted, Painter, PainterConfig, PainterEvent, PainterFact,
    Parameter, Points, colour,
};
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How much is computed before it is told: far below the time after which data has to be sent.
const PORTION: Duration = Duration::from_millis(100);
/// Points between two looks at the clock, as long as they are quick.
const LOOK: u32 = 64;

/// `rsp serve fractal`.
pub fn serve(args: &ServeFractal) -> Result<(), Failure> {
    let plan = element::Plan::new("fractal", pool(args.common.pool, "FractalGeneratorPool"));
    let config = Config {
        sessions_max: args.threads as usize,
        data_interval: args.data_interval,
        cookie_interval: args.cookie_interval,
        cookie_packets: args.cookie_packets,
        failure_after: args.failure_after,
        test_mode: args.test_mode,
    };
    let threads = args.threads;
    let backstage = move |wishes: Receiver<Compute>, tell: element::Tell<Generator>| {
        let wishes = Arc::new(Mutex::new(wishes));
        for number in 0..threads {
            let (wishes, tell) = (wishes.clone(), tell.clone());
            let compute = move || {
                loop {
                    let next = wishes.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(wish) = next else { return };
                    if !tell.tell(compute(&wish)) {
                        return;
                    }
                }
            };
            let begun = std::thread::Builder::new().name(format!("compute {number}")).spawn(compute);
            if let Err(cause) = begun {
                say(format!("cannot start thread {number} of {threads} ({cause}); computing with fewer"));
                return;
            }
        }
    };
    element::run(&args.common, plan, Generator::new(config), backstage, |node, now| {
        node.with_service(now, |generator, replies| generator.shut_down(now, replies));
    })
}

fn compute(wish: &Compute) -> rserpool_compute::application::fractal::Computed {
    let begun = Instant::now();
    let mut points = 0u32;
    // A point of many iterations takes long, so the clock is looked at for each.
    let look = if wish.parameter.iterations > 10_000 { 1 } else { LOOK };
    wish.carry_out(|| {
        points += 1;
        points.is_multiple_of(look) && begun.elapsed() >= PORTION
    })
}

/// `rsp client fractal`.
pub fn client(args: &ClientFractal) -> Result<Code, Failure> {
    let plan = Plan::new(&args.common, pool(args.common.pool, "FractalGeneratorPool"));
    let pause = Duration::try_from_secs_f64(args.pause)
        .map_err(|_| Failure::new(Code::Usage, "--pause takes a number of seconds, 0 or more"))?;
    let scenes = Scenes::find(args)?;
    let config =
        PainterConfig { handle: plan.pool, sessions: args.sessions as usize, receive_timeout: args.timeout };
    let front = PictureFront { args: args.clone(), pause, scenes, tell: None, painted: 0, wrong: 0 };
    user::run(
        &plan,
        move |_| Painter::new(config),
        front,
        |front, tell| {
            front.tell = Some(tell);
            front.next()
        },
    )
}

struct PictureFront {
    args: ClientFractal,
    pause: Duration,
    scenes: Scenes,
    tell: Option<Tell<Painter>>,
    painted: u64,
    wrong: u64,
}

impl PictureFront {
    fn next(&mut self) -> Result<(), Failure> {
        let parameter = self.scenes.next()?;
        if let Some(tell) = &self.tell {
            tell.tell(PainterFact::Paint(parameter));
        }
        Ok(())
    }

    fn painted(&mut self, picture: &Painted) -> Result<(), Failure> {
        self.painted += 1;
        let path =
            if self.args.count == 1 { self.args.out.clone() } else { numbered(&self.args.out, self.painted) };
        write_png(&path, picture, &self.marks()).map_err(|cause| {
            let message = format!(
                "cannot write the picture to {}: {cause}; choose another file with --out",
                path.display()
            );
            Failure::new(Code::CannotWrite, message)
        })?;
        let Painted { parameter, span, failovers, resumed, .. } = picture;
        say(format!(
            "{} x {} points in {:.3} s with {} sessions, {failovers} fail-overs ({resumed} by cookie): {}",
            parameter.width,
            parameter.height,
            span.as_secs_f64(),
            picture.parts.len(),
            path.display(),
        ));
        if picture.invalid > 0 {
            say(format!("{} messages made no sense and were passed over", picture.invalid));
        }
        if self.args.check {
            let wrong = differences(picture);
            self.wrong += wrong;
            say(match wrong {
                0 => "every point is as computed here".to_string(),
                some => format!("{some} points differ from those computed here"),
            });
        }
        Ok(())
    }

    /// How the hue is shifted: for each fail-over, for each part, for each picture.
    fn marks(&self) -> [u32; 3] {
        [
            if self.args.failure_marks { 5 } else { 0 },
            if self.args.session_marks { 3 } else { 0 },
            if self.args.failure_marks { 2 * (self.painted as u32 - 1) } else { 0 },
        ]
    }
}

impl Front<Painter> for PictureFront {
    fn hear(&mut self, _: Time, event: PainterEvent) -> Result<Turn, Failure> {
        match event {
            PainterEvent::Session(event) => Ok(Turn::Session(event)),
            PainterEvent::Painted(picture) => {
                self.painted(&picture)?;
                if self.painted == self.args.count {
                    let code = if self.wrong == 0 { Code::Done } else { Code::Failed };
                    return Ok(Turn::Over(code));
                }
                std::thread::sleep(self.pause);
                self.next()?;
                Ok(Turn::On)
            }
        }
    }
}

/// How many points are not what this machine computes.
fn differences(picture: &Painted) -> u64 {
    let wrong = |part: &rserpool_compute::application::fractal::Part| {
        let ours = Points::new(part.parameter, 0);
        part.values.iter().zip(ours).filter(|(theirs, ours)| *theirs != ours).count() as u64
    };
    picture.parts.iter().map(wrong).sum()
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{number:06}.png"))
}

fn write_png(path: &Path, picture: &Painted, marks: &[u32; 3]) -> Result<(), Box<dyn std::error::Error>> {
    let (width, height) = (picture.parameter.width, picture.parameter.height);
    let mut colours = vec![0u8; picture.parameter.points() as usize * 3];
    for (number, part) in (0u32..).zip(&picture.parts) {
        let row = part.parameter.width as usize;
        for (place, (value, failovers)) in part.values.iter().zip(&part.failovers).enumerate() {
            let (x, y) = (place % row + part.corner.0 as usize, place / row + part.corner.1 as usize);
            let marks = marks[0] * u32::from(*failovers) + marks[1] * number + marks[2];
            let at = (y * width as usize + x) * 3;
            colours[at..at + 3].copy_from_slice(&colour(*value, marks));
        }
    }
    // Complete or not at all.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(folder)?;
    let mut encoder = png::Encoder::new(BufWriter::new(file.as_file()), width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&colours)?;
    writer.finish()?;
    File::set_permissions(file.as_file(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}

/// Where pictures come from.
struct Scenes {
    whole: Parameter,
    files: Vec<PathBuf>,
    random: Random,
}

impl Scenes {
    fn find(args: &ClientFractal) -> Result<Self, Failure> {
        let whole = Parameter { width: args.width, height: args.height, ..Parameter::default() };
        let random = args.seed.map_or_else(process::random, Random::from_seed);
        let Some(path) = &args.scene else { return Ok(Self { whole, files: Vec::new(), random }) };
        let mut files = vec![path.clone()];
        if path.is_dir() {
            let entries = std::fs::read_dir(path).map_err(|cause| unreadable(path, &cause.to_string()))?;
            let is_scene = |path: &PathBuf| path.extension().is_some_and(|end| end == "fsf" || end == "fgp");
            files = entries.flatten().map(|entry| entry.path()).filter(is_scene).collect();
            files.sort();
            if files.is_empty() {
                return Err(unreadable(path, "it has no files *.fsf or *.fgp"));
            }
        }
        // A mistake in a file shall be known before hours of computing.
        for file in &files {
            read_scene(file, &whole)?;
        }
        Ok(Self { whole, files, random })
    }

    fn next(&mut self) -> Result<Parameter, Failure> {
        if self.files.is_empty() {
            return Ok(self.whole);
        }
        let number = self.random.below(self.files.len() as u64) as usize;
        read_scene(&self.files[number], &self.whole)
    }
}

fn unreadable(path: &Path, why: &str) -> Failure {
    Failure::new(Code::Usage, format!("--scene {}: {why}", path.display()))
}

fn read_scene(path: &Path, whole: &Parameter) -> Result<Parameter, Failure> {
    let text = std::fs::read_to_string(path).map_err(|cause| unreadable(path, &cause.to_string()))?;
    parse_scene(&text, whole).map_err(|why| unreadable(path, &why))
}

/// A file of RSPLIB's fractal programs (document type XMLFractalSave). Colours and resolution in it are passed over.
fn parse_scene(text: &str, whole: &Parameter) -> Result<Parameter, String> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
    let document =
        roxmltree::Document::parse_with_options(text, options).map_err(|cause| cause.to_string())?;
    if !document.root_element().has_tag_name("FractalV1") {
        return Err("its root element is not <FractalV1>".into());
    }
    let find = |name: &str| {
        let node = document.descendants().find(|node| node.has_tag_name(name))?;
        Some(node.text().unwrap_or_default().trim().to_owned())
    };
    let number = |name: &str| -> Result<Option<f64>, String> {
        let parse = |text: String| text.parse().ok().filter(|number: &f64| number.is_finite());
        find(name).map(|text| parse(text).ok_or(format!("<{name}> is not a number"))).transpose()
    };
    let needed = |name: &str| number(name)?.ok_or(format!("<{name}> is missing"));
    let algorithm = match find("AlgorithmName").as_deref() {
        Some("Mandelbrot") => Algorithm::Mandelbrot,
        Some("MandelbrotN") => Algorithm::MandelbrotN,
        other => {
            say(format!("no algorithm {}: Mandelbrot is used", other.unwrap_or("is named")));
            Algorithm::Mandelbrot
        }
    };
    let parameter = Parameter {
        algorithm,
        c1: (needed("C1Real")?, needed("C1Imag")?),
        c2: (needed("C2Real")?, needed("C2Imag")?),
        iterations: number("MaxIterations")?.map_or(123, |number| number.clamp(0.0, 1e9) as u32),
        n: number("N")?.unwrap_or(2.0),
        ..*whole
    };
    parameter.check()?;
    Ok(parameter)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "<!DOCTYPE XMLFractalSave>
<FractalV1>
 <Algorithm>
  <AlgorithmName>MandelbrotN</AlgorithmName>
  <C1Real>-1.5e0</C1Real> <C1Imag>1.25</C1Imag> <C2Real> 0.5 </C2Real> <C2Imag>-1</C2Imag>
  <Useroptions> <MaxIterations>77</MaxIterations> <N>3</N> </Useroptions>
 </Algorithm>
 <ColorScheme><ColorSchemeName>SimpleHSV</ColorSchemeName></ColorScheme>
 <Resolution>800*600</Resolution>
</FractalV1>";

    #[test]
    fn a_scene_of_the_reference_is_read() {
        let whole = Parameter { width: 64, height: 48, ..Parameter::default() };
        let expected = Parameter {
            algorithm: Algorithm::MandelbrotN,
            c1: (-1.5, 1.25),
            c2: (0.5, -1.0),
            iterations: 77,
            n: 3.0,
            ..whole
        };
        assert_eq!(parse_scene(FILE, &whole), Ok(expected));
        let short = FILE.replace("<MaxIterations>77</MaxIterations> <N>3</N>", "");
        let defaults = Parameter { iterations: 123, n: 2.0, ..expected };
        assert_eq!(parse_scene(&short, &whole), Ok(defaults));
    }

    #[test]
    fn a_bad_scene_says_what_is_wrong() {
        let why = |from: &str, to: &str| {
            parse_scene(&FILE.replace(from, to), &Parameter::default()).expect_err(from)
        };
        assert_eq!(why("-1.5e0", "much"), "<C1Real> is not a number");
        assert_eq!(why("<C2Imag>-1</C2Imag>", ""), "<C2Imag> is missing");
        assert_eq!(why(">77<", ">2e6<"), "must have at most 1000000 iterations");
        assert_eq!(why("FractalV1", "FractalV2"), "its root element is not <FractalV1>");
        assert!(why("</Algorithm>", "").contains("Algorithm"));
    }

    #[test]
    fn several_pictures_are_numbered() {
        assert_eq!(numbered(Path::new("a/b.png"), 7), Path::new("a/b-000007.png"));
    }
}

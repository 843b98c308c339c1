//! Draws loads and what came of them, as SVG. Pure.

use crate::Args;
use crate::run::Figures;
use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
const MARGIN: f64 = 64.0;

/// One panel: what it shows, its points, and whether it is drawn by powers of ten.
struct Panel {
    title: String,
    points: Vec<(f64, f64)>,
    logarithmic: bool,
}

/// CPU per million copies and the 99th percentile of latency over the load, one panel each.
pub fn draw(args: &Args, figures: &Figures) -> String {
    let mut steps: Vec<_> = figures.steps.iter().map(|(_, round)| round).collect();
    steps.sort_by(|a, b| a.forwarded_per_s.total_cmp(&b.forwarded_per_s));
    let over = |value: &dyn Fn(&crate::round::Round) -> Option<f64>| {
        steps.iter().filter_map(|r| Some((r.forwarded_per_s, value(r)?))).collect::<Vec<_>>()
    };
    let room = format!("{} members in {} room(s)", args.members, args.rooms);
    let panels = [
        Panel {
            title: format!("server CPU, s per million copies: {room}"),
            points: over(&|r| r.cpu_s_per_million),
            logarithmic: false,
        },
        Panel {
            title: "latency, 99th percentile, us".to_owned(),
            points: over(&|r| r.p99_us),
            logarithmic: true,
        },
        Panel {
            title: "loss, %".to_owned(),
            points: over(&|r| Some(r.loss * 100.0)),
            logarithmic: false,
        },
    ];
    let height = HEIGHT * panels.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (k, panel) in panels.iter().enumerate() {
        panel.draw(&mut svg, HEIGHT * k as f64);
    }
    svg.push_str("</svg>\n");
    svg
}

impl Panel {
    fn draw(&self, svg: &mut String, top: f64) {
        let most = |value: &dyn Fn(&(f64, f64)) -> f64| {
            self.points.iter().map(value).fold(f64::MIN_POSITIVE, f64::max)
        };
        let (right, high) = (most(&|(x, _)| *x), most(&|(_, y)| *y) * 1.1);
        let low = self.points.iter().map(|(_, y)| *y).fold(high, f64::min).max(1.0) / 1.5;
        let place = |(x, y): (f64, f64)| {
            let share = match self.logarithmic {
                true => (y.max(low) / low).ln() / (high / low).ln(),
                false => y / high,
            };
            let (width, height) = (WIDTH - 2.0 * MARGIN, HEIGHT - 1.5 * MARGIN);
            (MARGIN + x / right * width, top + HEIGHT - MARGIN - share * height)
        };
        let ((x0, y0), (x1, y1)) =
            (place((0.0, if self.logarithmic { low } else { 0.0 })), place((right, high)));
        let _ = writeln!(
            svg,
            "<text x=\"{x0}\" y=\"{:.1}\" font-weight=\"bold\">{}</text>\n\
             <path d=\"M{x0:.1} {y1:.1}V{y0:.1}H{x1:.1}\" fill=\"none\" stroke=\"black\"/>\n\
             <text x=\"{x1:.1}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} copies/s</text>",
            top + 20.0,
            self.title,
            y0 + 16.0,
            right
        );
        for value in [low.max(high / 4.0), high / 2.0, high / 1.1] {
            let (_, y) = place((0.0, value));
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>",
                x0 - 4.0,
                number(value)
            );
        }
        let points: Vec<String> = self
            .points
            .iter()
            .map(|point| {
                let (x, y) = place(*point);
                format!("{x:.1},{y:.1}")
            })
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"steelblue\" stroke-width=\"2\"/>",
            points.join(" ")
        );
        for point in &self.points {
            let (x, y) = place(*point);
            let _ =
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"steelblue\"/>");
        }
    }
}

fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

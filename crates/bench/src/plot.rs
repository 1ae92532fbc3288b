//! The cost by size as one picture in SVG.

use std::fmt::Write as _;

use crate::curves::Curve;
use crate::report::short;

const COLOURS: [&str; 4] = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd"];
const TOP: f64 = 84.0;
const BOTTOM: f64 = 330.0;
const WIDTH: f64 = 360.0;

/// One diagram: sizes along a logarithmic axis, microseconds up a linear or a logarithmic one.
struct Panel<'a> {
    left: f64,
    title: &'a str,
    sizes: &'a str,
    curves: &'a [Curve],
    logarithmic: bool,
}

impl Panel<'_> {
    /// The decades of its axis: nothing, which has a place of its own, and powers of ten.
    fn decades(&self) -> Vec<u64> {
        let sizes = || self.curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.size));
        let (least, most) = (sizes().min().unwrap_or(1), sizes().max().unwrap_or(10).max(10));
        let powers = (0..19).map(|exponent| 10_u64.pow(exponent));
        let powers = powers.filter(|power| *power >= least && *power / 10 < most);
        (least == 0).then_some(0).into_iter().chain(powers).collect()
    }

    fn costs(&self) -> impl Iterator<Item = f64> {
        self.curves.iter().flat_map(|curve| &curve.points).map(|point| point.us)
    }

    /// Values that have a line across.
    fn lines(&self) -> Vec<f64> {
        let dearest = self.costs().fold(1.0, f64::max);
        if self.logarithmic {
            let bottom = self.costs().fold(dearest, f64::min).log10().floor() as i32;
            let top = (dearest.log10().ceil() as i32).max(bottom + 1);
            return (bottom..=top).map(|exponent| 10_f64.powi(exponent)).collect();
        }
        // a step of 1, 2 or 5 times a power of ten, of which there are three to seven
        let power = 10_f64.powf((dearest / 7.0).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
        let step = steps.into_iter().find(|step| dearest / step <= 7.0).unwrap_or(dearest);
        (0..=(dearest / step).ceil() as u32).map(|number| f64::from(number) * step).collect()
    }

    fn x(&self, size: u64) -> f64 {
        let decades = self.decades();
        let slots = decades.len().saturating_sub(1).max(1) as f64;
        let first = decades.iter().copied().find(|decade| *decade > 0).unwrap_or(1);
        let zero = if decades.first() == Some(&0) { 1.0 } else { 0.0 };
        let place = if size == 0 { 0.0 } else { zero + (size as f64 / first as f64).log10() };
        self.left + WIDTH * place / slots
    }

    fn y(&self, us: f64) -> f64 {
        let lines = self.lines();
        let (bottom, top) = (lines[0], lines[lines.len() - 1]);
        let share = if self.logarithmic { (us / bottom).log10() / (top / bottom).log10() } else { us / top };
        BOTTOM - (BOTTOM - TOP) * share
    }

    fn draw(&self, out: &mut String) {
        let (left, right) = (self.left, self.left + WIDTH);
        let middle = left.midpoint(right);
        let _ =
            writeln!(out, r#"<text x="{middle}" y="22" text-anchor="middle" font-weight="bold">{}</text>"#, self.title);
        for us in self.lines() {
            let y = self.y(us);
            let _ = writeln!(out, r##"<path d="M{left} {y:.1}H{right}" stroke="#ddd"/>"##);
            let _ = writeln!(out, r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{us}</text>"#, left - 6.0, y + 4.0);
        }
        for size in self.decades() {
            let x = self.x(size);
            let _ = writeln!(out, r##"<path d="M{x:.1} {TOP}V{BOTTOM}" stroke="#eee"/>"##);
            let _ =
                writeln!(out, r#"<text x="{x:.1}" y="{}" text-anchor="middle">{}</text>"#, BOTTOM + 18.0, short(size));
        }
        let _ = writeln!(out, r#"<text x="{middle}" y="{}" text-anchor="middle">{}</text>"#, BOTTOM + 40.0, self.sizes);
        let (x, y) = (left - 44.0, TOP.midpoint(BOTTOM));
        let _ = writeln!(
            out,
            r#"<text x="{x}" y="{y}" text-anchor="middle" transform="rotate(-90 {x} {y})">processor time of a call, us</text>"#
        );
        for ((number, curve), colour) in self.curves.iter().enumerate().zip(COLOURS) {
            let points: Vec<_> = curve.points.iter().map(|point| (self.x(point.size), self.y(point.us))).collect();
            let line: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(
                out,
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
                line.join(" ")
            );
            for (x, y) in points {
                let _ = writeln!(out, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#);
            }
            let y = 40.0 + 15.0 * number as f64;
            let _ = writeln!(out, r#"<path d="M{} {:.1}h18" stroke="{colour}" stroke-width="3"/>"#, left, y - 4.0);
            let _ = writeln!(
                out,
                r#"<text x="{}" y="{y:.1}">{}: dearest {:.2} of the first</text>"#,
                left + 24.0,
                curve.name,
                curve.steepness()
            );
        }
    }
}

/// `by_number` beside each other, and `by_bytes`.
pub fn plot(by_number: &[Curve], by_bytes: &[Curve]) -> String {
    let mut out = String::from(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 385" font-family="sans-serif" font-size="12">
<rect width="900" height="385" fill="white"/>
"#,
    );
    let panels = [
        Panel {
            left: 70.0,
            title: "Guarded call without a transport",
            sizes: "how many there are (logarithmic)",
            curves: by_number,
            logarithmic: false,
        },
        Panel {
            left: 510.0,
            title: "Call in memory, client and server",
            sizes: "bytes of content, there and back (logarithmic)",
            curves: by_bytes,
            logarithmic: true,
        },
    ];
    for panel in panels {
        panel.draw(&mut out);
    }
    out.push_str("</svg>\n");
    out
}

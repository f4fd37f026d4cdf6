//! What times by chance are distributed like.
//!
//! Nothing of the platform's mathematical library is used: its last bits differ between machines, and with them what a seed means.

use std::sync::Arc;

use crate::cast::real;

/// How times spread around the delay. The unit is the jitter that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Distribution {
    /// From one jitter less to one jitter more, all alike.
    Uniform,
    /// The jitter is the standard deviation.
    Normal,
    /// Later only: the jitter is the median, and two thirds lie within a factor of e of it.
    LogNormal,
    /// Later only, with a heavy tail: half of the jitter on average, with a shape of 3 (Lomax).
    Pareto,
    /// Later only: the jitter is the mean.
    Exponential,
    /// Quantiles at even steps, in jitters: the first is the least, the last is the greatest.
    Table(Arc<[f64]>),
}

impl Distribution {
    /// The value below which the share `u` of all lies, with `u` above 0 and below 1.
    #[must_use]
    pub fn quantile(&self, u: f64) -> f64 {
        match self {
            Distribution::Uniform => 2.0 * u - 1.0,
            Distribution::Normal => normal(u),
            Distribution::LogNormal => exp(normal(u)),
            Distribution::Pareto => exp(-ln(1.0 - u) / 3.0) - 1.0,
            Distribution::Exponential => -ln(1.0 - u),
            Distribution::Table(table) => {
                let last = table.len() - 1;
                let position = u * real(crate::cast::wide(last));
                let below = usize::try_from(crate::cast::whole(position)).unwrap_or(0).min(last);
                let above = (below + 1).min(last);
                let part = position - real(crate::cast::wide(below));
                table[below] + (table[above] - table[below]) * part
            }
        }
    }
}

/// The natural logarithm of a positive normal number.
pub(crate) fn ln(x: f64) -> f64 {
    const LN_2: f64 = std::f64::consts::LN_2;
    let bits = x.to_bits();
    let exponent = f64::from(u16::try_from(bits >> 52 & 0x7ff).unwrap_or(0)) - 1023.0;
    let mantissa = f64::from_bits(bits & !(0x7ff << 52) | 1023 << 52);
    // Within a factor of sqrt(2) of 1, where the series is short.
    let (mantissa, exponent) =
        if mantissa > std::f64::consts::SQRT_2 { (mantissa / 2.0, exponent + 1.0) } else { (mantissa, exponent) };
    let y = (mantissa - 1.0) / (mantissa + 1.0);
    let square = y * y;
    let mut sum = 0.0;
    let mut power = y;
    let mut odd = 1.0;
    while odd < 24.0 {
        sum += power / odd;
        power *= square;
        odd += 2.0;
    }
    exponent * LN_2 + 2.0 * sum
}

/// e to the power of a number that is neither too small nor too large for the result.
pub(crate) fn exp(x: f64) -> f64 {
    // Halve until the series is short, square as often afterwards.
    let mut halvings = 0;
    let mut reduced = x;
    while reduced.abs() > 0.125 && halvings < 16 {
        reduced /= 2.0;
        halvings += 1;
    }
    let mut sum = 1.0;
    let mut term = 1.0;
    let mut n = 1.0;
    while n < 13.0 {
        term *= reduced / n;
        sum += term;
        n += 1.0;
    }
    for _ in 0..halvings {
        sum *= sum;
    }
    sum
}

/// The quantile of the standard normal distribution: P. J. Acklam's rational approximation, whose relative error is below 1.2e-9.
pub(crate) fn normal(u: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.383_577_518_672_69e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 5] =
        [-5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1, -1.328068155288572e1];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 4] = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416];
    const TAIL: f64 = 0.02425;
    let polynomial = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    let tail = |share: f64| {
        let q = (-2.0 * ln(share)).sqrt();
        polynomial(&C, q) / (polynomial(&D, q) * q + 1.0)
    };
    let u = u.clamp(1e-15, 1.0 - 1e-15);
    if u < TAIL {
        tail(u)
    } else if u > 1.0 - TAIL {
        -tail(1.0 - u)
    } else {
        let q = u - 0.5;
        let r = q * q;
        polynomial(&A, r) * q / (polynomial(&B, r) * r + 1.0)
    }
}

/// The share of the standard normal distribution below `x`: Abramowitz and Stegun 7.1.26, to 1.5e-7.
pub(crate) fn below_normal(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.3275911 * z);
    let sum = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    let error = 1.0 - sum * exp(-z * z);
    if x < 0.0 { (1.0 - error) / 2.0 } else { f64::midpoint(1.0, error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Our own functions say what the platform's say.
    #[test]
    fn functions() {
        for step in 1..2000 {
            let x = f64::from(step) * 0.01;
            assert!((ln(x) - x.ln()).abs() < 1e-12, "ln {x}");
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-9 && (exp(-x) / (-x).exp() - 1.0).abs() < 1e-9, "exp {x}");
        }
        for step in 1..1000 {
            let u = f64::from(step) / 1000.0;
            assert!((below_normal(normal(u)) - u).abs() < 2e-7, "normal {u}");
        }
        assert!((normal(0.975) - 1.959_963_985).abs() < 1e-8);
    }

    /// A table's values lie where its file says, and between them on straight lines.
    #[test]
    fn table() {
        let table = Distribution::Table([-1.0, 0.0, 4.0].into());
        let got = [0.0, 0.25, 0.5, 0.75, 0.999_999].map(|u| (table.quantile(u) * 100.0).round());
        assert_eq!(got, [-100.0, -50.0, 0.0, 200.0, 400.0]);
    }
}

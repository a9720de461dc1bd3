// Maps of differences: pixels in, numbers out. Pixels are RGBA bytes, row by row; nothing here knows the page.

/** Y of BT.601 as MATLAB's rgb2ycbcr, not rounded: 16 to 235. */
function luma(rgba) {
  const y = new Float64Array(rgba.length / 4);
  for (let i = 0, p = 0; i < y.length; i += 1, p += 4) {
    y[i] = 16 + (65.481 * rgba[p] + 128.553 * rgba[p + 1] + 24.966 * rgba[p + 2]) / 255;
  }
  return y;
}

/** Mean absolute difference over R, G and B, in grey levels. */
function absoluteError(first, second) {
  const error = new Float64Array(first.length / 4);
  for (let i = 0, p = 0; i < error.length; i += 1, p += 4) {
    error[i] = (Math.abs(first[p] - second[p]) + Math.abs(first[p + 1] - second[p + 1])
      + Math.abs(first[p + 2] - second[p + 2])) / 3;
  }
  return error;
}

/** Every second value of the convolution of each line with a filter; zeros beyond the edges. */
function analyse(values, width, height, filter, alongRows) {
  const length = alongRows ? width : height;
  const lines = alongRows ? height : width;
  const count = Math.floor((length + filter.length - 1) / 2);
  const step = alongRows ? 1 : width;
  const out = new Float64Array(count * lines);
  for (let line = 0; line < lines; line += 1) {
    const start = alongRows ? line * width : line;
    for (let k = 0; k < count; k += 1) {
      const from = 2 * k + 1;
      let sum = 0;
      for (let j = Math.max(0, from - length + 1); j < filter.length && j <= from; j += 1) {
        sum += filter[j] * values[start + (from - j) * step];
      }
      out[alongRows ? line * count + k : k * width + line] = sum;
    }
  }
  return out;
}

/** One level of the 2-D transform, named as PyWavelets names its bands: h is high-pass from row to row. */
function transform(values, width, height, wavelet) {
  const low = analyse(values, width, height, wavelet.low, false);
  const high = analyse(values, width, height, wavelet.high, false);
  const rows = low.length / width;
  const columns = Math.floor((width + wavelet.low.length - 1) / 2);
  const across = (band, filter) => analyse(band, width, rows, filter, true);
  return {
    width: columns,
    height: rows,
    a: across(low, wavelet.low),
    h: across(high, wavelet.low),
    v: across(low, wavelet.high),
    d: across(high, wavelet.high),
  };
}

/**
 * Detail bands of the difference of two images on Y: the size of one band's coefficients, or with `all` the root of the
 * sum of the squares of the three. `step` is how many pixels a coefficient stands for on each side, `offset` where the
 * first one's square begins, so that a map lies on its image.
 */
function bandMap(first, second, width, height, { level, band, wavelet }) {
  let values = luma(first);
  const other = luma(second);
  for (let i = 0; i < values.length; i += 1) values[i] -= other[i];
  let bands = null;
  let size = { width, height };
  let offset = 0;
  for (let j = 0; j < level; j += 1) {
    bands = transform(values, size.width, size.height, wavelet);
    values = bands.a;
    size = bands;
    offset -= (wavelet.low.length / 2 - 1) * 2 ** j;
  }
  const { h, v, d } = bands;
  const magnitude = band === 'all' ? h.map((x, i) => Math.hypot(x, v[i], d[i])) : bands[band].map(Math.abs);
  return { values: magnitude, width: size.width, height: size.height, step: 2 ** level, offset };
}

/** Colours of values from 0 to `span`, along evenly spaced stops. */
function colour(values, span, stops) {
  const table = new Uint8ClampedArray(256 * 4).fill(255);
  for (let i = 0; i < 256; i += 1) {
    const place = (i / 255) * (stops.length - 1);
    const below = Math.min(Math.floor(place), stops.length - 2);
    for (let c = 0; c < 3; c += 1) {
      table[4 * i + c] = stops[below][c] + (stops[below + 1][c] - stops[below][c]) * (place - below);
    }
  }
  const entries = new Uint32Array(table.buffer); // four bytes at once
  const colours = new Uint32Array(values.length);
  const factor = 255 / span;
  for (let i = 0; i < values.length; i += 1) colours[i] = entries[Math.round(Math.min(values[i] * factor, 255))];
  return new Uint8ClampedArray(colours.buffer);
}

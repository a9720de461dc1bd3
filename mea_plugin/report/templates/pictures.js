// Images of the page: decoded when they are asked for, let go when they are not.

function decodeBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** Holds the decoded images; how many is decided by whoever calls `keep`. */
class Pictures {
  constructor() {
    this.bitmaps = new Map();
  }

  /** A promise of the decoded image of a blob. */
  get(key) {
    if (!this.bitmaps.has(key)) {
      const element = document.getElementById(key);
      const blob = new Blob([decodeBase64(element.textContent)], { type: element.dataset.kind });
      const exact = { colorSpaceConversion: 'none', premultiplyAlpha: 'none' };
      this.bitmaps.set(key, createImageBitmap(blob, exact));
    }
    return this.bitmaps.get(key);
  }

  /** Let go of all images but these. */
  keep(keys) {
    for (const [key, bitmap] of this.bitmaps) {
      if (!keys.has(key)) {
        this.bitmaps.delete(key);
        bitmap.then((one) => one.close(), () => {});
      }
    }
  }
}

/** The RGBA bytes of an image, its pixels repeated `times` times. */
function readPixels(bitmap, times = 1) {
  const canvas = new OffscreenCanvas(bitmap.width * times, bitmap.height * times);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return context.getImageData(0, 0, canvas.width, canvas.height).data;
}

/** RGBA bytes as something that can be drawn. */
function drawable(rgba, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext('2d').putImageData(new ImageData(rgba, width, height), 0, 0);
  return canvas;
}

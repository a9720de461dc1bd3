// Two images under a divider, or side by side, in one zoom and pan.
// An image here is {source, x, y, width, height}: something drawable, and the rectangle it fills in pixels of the answers.

const CLOSEST = 32; // CSS pixels for a pixel of the image, at the largest zoom

/** Where an image of a size lies in a pane: its scale and its corner. `view` is {zoom, x, y}: times the zoom at which all
 * of it is seen, and the point in the middle of the pane, as fractions of width and height. */
function place(view, pane, size) {
  const scale = Math.min(pane.width / size.width, pane.height / size.height) * view.zoom;
  const corner = (room, length, middle) => {
    const half = room / (2 * length * scale);
    const centre = half >= 0.5 ? 0.5 : Math.min(Math.max(middle, half), 1 - half);
    return room / 2 - centre * length * scale;
  };
  return {
    scale,
    left: corner(pane.width, size.width, view.x),
    top: corner(pane.height, size.height, view.y),
  };
}

/** Draw an image into a pane whose corner is the context's origin. */
function paint(context, image, view, pane, size) {
  const { scale, left, top } = place(view, pane, size);
  context.imageSmoothingEnabled = scale * devicePixelRatio < 1;
  context.imageSmoothingQuality = 'medium';
  context.save();
  context.beginPath();
  context.rect(left, top, size.width * scale, size.height * scale);
  context.clip();
  context.drawImage(
    image.source, left + image.x * scale, top + image.y * scale, image.width * scale, image.height * scale,
  );
  context.restore();
}

/** Make a canvas as large as it is shown; returns its size in CSS pixels. */
function fitCanvas(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const [wide, high] = [width, height].map((side) => Math.max(1, Math.round(side * devicePixelRatio)));
  if (canvas.width !== wide) canvas.width = wide;
  if (canvas.height !== high) canvas.height = high;
  return { width, height };
}

class Stage {
  /** `onView` is called when zoom, pan or divider move, `onPoint` with the pixel under the pointer, or null. */
  constructor(element, { onView, onPoint }) {
    this.element = element;
    this.canvas = element.querySelector('canvas');
    this.handle = element.querySelector('[role=slider]');
    this.hint = element.querySelector('.hint');
    this.view = { zoom: 1, x: 0.5, y: 0.5 };
    this.divider = 0.5;
    this.sideBySide = false;
    this.images = null;
    this.size = { width: 1, height: 1 };
    this.pointers = new Map();
    this.onView = onView;
    this.onPoint = onPoint;
    this.waiting = false;
    this.listen();
  }

  /** Show two images of one size. */
  show(left, right, size) {
    this.images = [left, right];
    this.size = size;
    this.move({});
  }

  setLayout(sideBySide) {
    this.sideBySide = sideBySide;
    this.handle.hidden = sideBySide;
    this.move({});
  }

  setDivider(share) {
    this.divider = Math.min(Math.max(share, 0), 1);
    const percent = Math.round(this.divider * 100);
    this.handle.style.left = `${this.divider * 100}%`;
    this.handle.setAttribute('aria-valuenow', String(percent));
    this.handle.setAttribute('aria-valuetext', `${percent} % of the width shows the left image`);
    this.redraw();
  }

  /** The panes in CSS pixels: both are the whole stage under a divider. */
  panes() {
    const { width, height } = this.canvas.getBoundingClientRect();
    if (!this.sideBySide) return [{ x: 0, width, height }, { x: 0, width, height }];
    const half = (width - 2) / 2;
    return [{ x: 0, width: half, height }, { x: half + 2, width: half, height }];
  }

  place() {
    return place(this.view, this.panes()[0], this.size);
  }

  /** Change the view, kept within the image. */
  move(change) {
    const pane = this.panes()[0];
    const view = { ...this.view, ...change };
    const fit = place({ ...view, zoom: 1 }, pane, this.size).scale;
    view.zoom = Math.min(Math.max(view.zoom, 1), Math.max(CLOSEST / fit, 1));
    const { scale, left, top } = place(view, pane, this.size);
    view.x = (pane.width / 2 - left) / (this.size.width * scale);
    view.y = (pane.height / 2 - top) / (this.size.height * scale);
    this.view = view;
    this.element.classList.toggle('zoomed', view.zoom > 1);
    this.redraw();
    this.onView(view, scale);
  }

  /** Zoom by a factor around a point of the stage, its middle by default. */
  zoomBy(factor, at = null) {
    const pane = this.panes()[0];
    const before = this.place();
    const limit = Math.max(CLOSEST / (before.scale / this.view.zoom), 1);
    const zoom = Math.min(Math.max(this.view.zoom * factor, 1), limit);
    const { x, y } = at ? this.inPane(at) : { x: pane.width / 2, y: pane.height / 2 };
    const grown = before.scale * (zoom / this.view.zoom);
    const [column, row] = [(x - before.left) / before.scale, (y - before.top) / before.scale];
    this.move({
      zoom,
      x: (column + (pane.width / 2 - x) / grown) / this.size.width,
      y: (row + (pane.height / 2 - y) / grown) / this.size.height,
    });
  }

  panBy(dx, dy) {
    const { scale } = this.place();
    this.move({
      x: this.view.x - dx / (scale * this.size.width),
      y: this.view.y - dy / (scale * this.size.height),
    });
  }

  /** One pixel of the image as one pixel of the screen. */
  actualSize() {
    this.zoomBy(1 / (this.place().scale * devicePixelRatio));
  }

  fit() {
    this.move({ zoom: 1, x: 0.5, y: 0.5 });
  }

  redraw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  draw() {
    const { width, height } = fitCanvas(this.canvas);
    const context = this.canvas.getContext('2d');
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!this.images || !width) return;
    const edge = this.divider * width;
    const shown = this.sideBySide ? null : [{ x: 0, width: edge }, { x: edge, width: width - edge }];
    this.panes().forEach((pane, side) => {
      const clip = shown ? shown[side] : pane;
      context.save();
      context.beginPath();
      context.rect(clip.x, 0, clip.width, height);
      context.clip();
      context.translate(pane.x, 0);
      paint(context, this.images[side], this.view, pane, this.size);
      context.restore();
    });
  }

  /** A pointer's place in the pane that it is over. */
  inPane(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = event.clientX - box.left;
    const [first, second] = this.panes();
    return { x: this.sideBySide && x >= second.x ? x - second.x : x - first.x, y: event.clientY - box.top };
  }

  listen() {
    const { element } = this;
    element.addEventListener('pointerdown', (event) => this.press(event));
    element.addEventListener('pointermove', (event) => this.drag(event));
    for (const type of ['pointerup', 'pointercancel']) {
      element.addEventListener(type, (event) => this.pointers.delete(event.pointerId));
    }
    element.addEventListener('pointerleave', () => this.onPoint(null));
    element.addEventListener('wheel', (event) => this.wheel(event), { passive: false });
    element.addEventListener('touchmove', (event) => {
      if (event.touches.length > 1) event.preventDefault(); // two fingers zoom the images, not the page
    }, { passive: false });
    this.handle.addEventListener('keydown', (event) => this.slide(event));
    new ResizeObserver(() => this.move({})).observe(element);
  }

  press(event) {
    if (event.button !== 0 || this.pointers.size > 1) return;
    const onHandle = this.handle.contains(event.target);
    const divides = !this.sideBySide && (onHandle || this.view.zoom === 1);
    this.element.focus({ preventScroll: true }); // so that arrows change the image; Tab leads to the divider
    event.preventDefault();
    this.element.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, divides });
    if (divides && !onHandle) this.divideAt(event.clientX);
  }

  drag(event) {
    const pointer = this.pointers.get(event.pointerId);
    if (!pointer) {
      this.point(event);
      return;
    }
    const before = this.pinch();
    const [dx, dy] = [event.clientX - pointer.x, event.clientY - pointer.y];
    Object.assign(pointer, { x: event.clientX, y: event.clientY });
    if (before) {
      const after = this.pinch();
      this.zoomBy(after.distance / before.distance, before); // first: what is seen whole cannot be moved
      this.panBy(after.clientX - before.clientX, after.clientY - before.clientY);
    } else if (pointer.divides) {
      this.divideAt(event.clientX);
    } else {
      this.panBy(dx, dy);
    }
    this.point(event);
  }

  /** The middle and the distance of two fingers; null while there are not two. */
  pinch() {
    if (this.pointers.size !== 2) return null;
    const [a, b] = this.pointers.values();
    return {
      clientX: (a.x + b.x) / 2,
      clientY: (a.y + b.y) / 2,
      distance: Math.max(Math.hypot(a.x - b.x, a.y - b.y), 1),
    };
  }

  divideAt(clientX) {
    const box = this.canvas.getBoundingClientRect();
    this.setDivider((clientX - box.left) / box.width);
  }

  wheel(event) {
    if (!event.ctrlKey && !this.element.contains(document.activeElement)) {
      this.hint.classList.add('shown');
      clearTimeout(this.hintTimer);
      this.hintTimer = setTimeout(() => this.hint.classList.remove('shown'), 1200);
      return;
    }
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    const speed = event.ctrlKey ? 0.01 : 0.002;
    this.zoomBy(Math.exp(-Math.max(-240, Math.min(240, event.deltaY * lines)) * speed), event);
  }

  slide(event) {
    const step = event.shiftKey ? 0.1 : 0.02;
    const to = {
      ArrowLeft: this.divider - step,
      ArrowDown: this.divider - step,
      ArrowRight: this.divider + step,
      ArrowUp: this.divider + step,
      PageDown: this.divider - 0.1,
      PageUp: this.divider + 0.1,
      Home: 0,
      End: 1,
    }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.setDivider(to);
  }

  point(event) {
    const { x, y } = this.inPane(event);
    const { scale, left, top } = this.place();
    const [column, row] = [Math.floor((x - left) / scale), Math.floor((y - top) / scale)];
    const inside = column >= 0 && row >= 0 && column < this.size.width && row < this.size.height;
    this.onPoint(inside ? { column, row } : null);
  }
}

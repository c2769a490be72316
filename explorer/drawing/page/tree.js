// The disconnectivity graph: labels that fit, and what a click on a line means.

// Labels at the branch ends must not overlap, and only the page knows its width: upright if that
// fits, else turned, and of those that still collide the one of the lower minimum stays.
function fitLabels(div) {
  const full = div._fullLayout, size = 6.3, all = div.layout.annotations || [];
  const spots = all.map(a => a.name === 'label' ?
    {x: full.xaxis.d2p(a.x), y: full.yaxis.d2p(a.y), rows: (a.fullText || a.text).split('<br>')}
    : null);
  const kept = turned => {
    const boxes = [];
    return spots.map(s => {
      if (!s) return true;
      const wide = size * Math.max(...s.rows.map(r => r.length)) + 4;
      const long = size * s.rows.join(' ').length + 4;
      Object.assign(s, turned ? {w: 14, h: long} : {w: wide, h: 14 * s.rows.length});
      const free = boxes.every(b => Math.abs(b.x - s.x) >= (b.w + s.w) / 2 ||
        b.y + b.h <= s.y || s.y + s.h <= b.y);
      if (free) boxes.push({x: s.x, y: s.y, w: s.w, h: s.h});
      return free;
    });
  };
  let turned = false, visible = kept(turned);
  if (visible.includes(false)) { turned = true; visible = kept(turned); }
  const reach = Math.max(0, ...spots.map(s => s ? s.y + 8 + s.h : 0));
  const range = div.layout.yaxis.range, height = full._size.h;
  const update = {annotations: all.map((a, i) => spots[i] ? {...a,
    visible: visible[i], textangle: turned ? -90 : 0, fullText: spots[i].rows.join('<br>'),
    text: spots[i].rows.join(turned ? ' ' : '<br>')} : a)};
  if (reach > height) update['yaxis.range'] =
    [range[0] - (range[1] - range[0]) * (reach - height) / height, range[1]];
  return Plotly.relayout(div, update);
}

// How far a point is from a line through points [x, y, x, y, ...], in pixels.
function distanceTo(line, px, py) {
  let least = Infinity;
  for (let k = 0; k + 3 < line.length; k += 2) {
    const [ax, ay, bx, by] = line.slice(k, k + 4), dx = bx - ax, dy = by - ay;
    const along = dx * dx + dy * dy ? ((px - ax) * dx + (py - ay) * dy) / (dx * dx + dy * dy) : 0;
    const t = Math.min(1, Math.max(0, along));
    least = Math.min(least, Math.hypot(px - ax - t * dx, py - ay - t * dy));
  }
  return least;
}

// What lies at a pixel of the plot: {minimum} or {junction}, or null. Ends come before lines.
function pick(div, strokes, px, py) {
  const {xaxis, yaxis} = div._fullLayout;
  let best = null, least = 12;
  for (const [what, ...points] of strokes) {
    const line = points.map((v, k) => k % 2 ? yaxis.d2p(v) : xaxis.d2p(v));
    const end = Math.hypot(px - line[line.length - 2], py - line[line.length - 1]);
    const far = Math.min(distanceTo(line, px, py), end - 4);
    if (far < least) {
      least = far;
      best = what < 0 ? {junction: -1 - what} : {minimum: what};
    }
  }
  return best;
}

// A press and release at one place is a click; what moved in between is a zoom.
function onClick(div, strokes, then) {
  let from = null;
  const place = event => {
    const box = div.getBoundingClientRect(), {l, t} = div._fullLayout._size;
    return [event.clientX - box.left - l, event.clientY - box.top - t];
  };
  div.addEventListener('pointerdown', event => {
    from = event.target.closest('.modebar, .legend') ? null : place(event);
  }, true);
  addEventListener('pointercancel', () => { from = null; }, true);  // a finger that scrolls
  addEventListener('pointerup', event => {
    if (!from) return;
    const to = place(event), still = Math.hypot(to[0] - from[0], to[1] - from[1]) < 5;
    from = null;
    const found = still ? pick(div, strokes, ...to) : null;
    if (found) then(found);
  }, true);
}

// Structures in three dimensions: spheres and half-bonds as one mesh per element.

function decoded(text, Kind) {
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
  return new Kind(bytes.buffer);
}

// A sphere of unit radius: an octahedron whose faces are divided into four, some times.
function unitSphere(times) {
  let points = [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]];
  let faces = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5],
    [0, 3, 5]];
  for (; times > 0; times--) {
    const middles = new Map(), divided = [];
    const middle = (a, b) => {
      const key = a < b ? `${a} ${b}` : `${b} ${a}`;
      if (!middles.has(key)) {
        const sum = points[a].map((v, k) => v + points[b][k]), long = Math.hypot(...sum);
        middles.set(key, points.push(sum.map(v => v / long)) - 1);
      }
      return middles.get(key);
    };
    for (const [a, b, c] of faces) {
      const [ab, bc, ca] = [middle(a, b), middle(b, c), middle(c, a)];
      divided.push([a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]);
    }
    faces = divided;
  }
  return {points, faces};
}

class StructureView {
  constructor(div, molecule) {
    this.div = div;
    this.molecule = molecule;
    this.sphere = unitSphere(molecule.atoms.length > 16 ? 2 : 3);
    this.sides = 8;
    this.ready = false;
  }

  bonds(x) {
    if (this.molecule.bonds) return this.molecule.bonds;
    const found = [], n = this.molecule.atoms.length;
    for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) {
      const apart = Math.hypot(x[3 * i] - x[3 * j], x[3 * i + 1] - x[3 * j + 1],
        x[3 * i + 2] - x[3 * j + 2]);
      if (apart < this.molecule.reach) found.push([i, j]);
    }
    return found;
  }

  meshes(x) {
    const made = this.molecule.kinds.map(() => ({x: [], y: [], z: [], i: [], j: [], k: []}));
    const add = (mesh, points, faces) => {
      const start = mesh.x.length;
      for (const p of points) { mesh.x.push(p[0]); mesh.y.push(p[1]); mesh.z.push(p[2]); }
      for (const f of faces) {
        mesh.i.push(start + f[0]); mesh.j.push(start + f[1]); mesh.k.push(start + f[2]);
      }
    };
    const at = n => [x[3 * n], x[3 * n + 1], x[3 * n + 2]];
    this.molecule.atoms.forEach((kind, n) => {
      const centre = at(n), radius = this.molecule.kinds[kind].radius;
      add(made[kind], this.sphere.points.map(p => p.map((v, k) => centre[k] + radius * v)),
        this.sphere.faces);
    });
    for (const [a, b] of this.bonds(x)) {
      const [from, to] = [at(a), at(b)];
      const middle = from.map((v, k) => (v + to[k]) / 2);
      add(made[this.molecule.atoms[a]], ...this.stick(from, middle));
      add(made[this.molecule.atoms[b]], ...this.stick(to, middle));
    }
    return made;
  }

  stick(from, to) {
    const axis = to.map((v, k) => v - from[k]), long = Math.hypot(...axis) || 1;
    const unit = axis.map(v => v / long);
    const other = Math.abs(unit[0]) < 0.8 ? [1, 0, 0] : [0, 1, 0];
    const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2],
      a[0] * b[1] - a[1] * b[0]];
    let u = cross(unit, other);
    const size = Math.hypot(...u);
    u = u.map(v => v / size);
    const w = cross(unit, u), points = [], faces = [], r = this.molecule.stick, m = this.sides;
    for (let s = 0; s < m; s++) {
      const c = r * Math.cos(2 * Math.PI * s / m), d = r * Math.sin(2 * Math.PI * s / m);
      const off = u.map((v, k) => c * v + d * w[k]);
      points.push(from.map((v, k) => v + off[k]), to.map((v, k) => v + off[k]));
      const [p, q, t] = [2 * s, 2 * s + 1, 2 * ((s + 1) % m)];
      faces.push([p, q, t], [q, t + 1, t]);
    }
    return [points, faces];
  }

  // `reach` of the picture: of a path it is that of its largest frame, so that nothing jumps.
  show(x, reach) {
    const meshes = this.meshes(x);
    const traces = meshes.map((mesh, kind) => ({type: 'mesh3d', ...mesh,
      color: this.molecule.kinds[kind].colour, hoverinfo: 'skip', flatshading: false,
      lighting: {ambient: 0.5, diffuse: 0.6, specular: 0.15, roughness: 0.5, fresnel: 0.05},
      // plotly turns the normals of what faces the eye away: a light behind shines on the front
      lightposition: {x: -50000, y: -80000, z: -100000}}));
    const axis = {visible: false, range: [-reach, reach], autorange: false};
    const layout = {margin: {l: 0, r: 0, t: 0, b: 0}, uirevision: 'same', paper_bgcolor: '#fff',
      scene: {xaxis: axis, yaxis: axis, zaxis: axis, aspectmode: 'manual',
        aspectratio: {x: 2.1, y: 2.1, z: 2.1}, uirevision: 'same',
        dragmode: 'orbit', camera: {eye: {x: 0, y: 0, z: 2}, up: {x: 0, y: 1, z: 0},
          projection: {type: 'orthographic'}}}};
    const config = {responsive: true, displayModeBar: false, scrollZoom: innerWidth >= 640};
    this.ready = true;
    return Plotly.react(this.div, traces, layout, config);
  }

  static reach(...frames) {
    let far = 1;
    for (const x of frames) for (let k = 0; k < x.length; k += 3)
      far = Math.max(far, Math.hypot(x[k], x[k + 1], x[k + 2]));
    return far + 0.5;
  }

  xyz(x, comment) {
    const rows = this.molecule.atoms.map((kind, n) => this.molecule.kinds[kind].symbol + ' ' +
      [0, 1, 2].map(k => x[3 * n + k].toFixed(6)).join(' '));
    return [this.molecule.atoms.length, comment, ...rows].join('\n') + '\n';
  }
}

// Runs first in every Node process that `local.clock` starts, and in every page of the tests'
// Chromium. It moves their Date, as Python's clock is moved.
((movedBy) => {
  const Real = Date;
  let now = () => Real.now() + movedBy;
  const Moved = new Proxy(Real, {
    apply: () => new Real(now()).toString(),
    construct: (target, given, made) => Reflect.construct(target, given.length ? given : [now()], made),
    get: (target, name) => (name === 'now' ? now : target[name]),
    // A test that stops the clock stops this one, too.
    set: (target, name, value) => {
      if (name === 'now') now = value;
      else target[name] = value;
      return true;
    },
  });
  Real.prototype.constructor = Moved;
  globalThis.Date = Moved;
})(1000 * process.env.CLOCK_MOVED_BY);

/**
 * Draws dashboard/countries.svg, the dashboard's map of the world: a path for each country, its ISO code as the id.
 *
 *     cd clients && npm ci && node countries.mjs > dashboard/countries.svg
 *
 * Equal Earth, so that no country looks larger than it is, cut through the Bering Strait, where no country is.
 */

import { readFileSync } from 'node:fs';
import { geoEqualEarth, geoPath } from 'd3-geo';
import { feature } from 'topojson-client';

const WIDTH = 800; // twice a card's pixels; coordinates are whole numbers
const NAMELESS = { Kosovo: 'XK', 'N. Cyprus': 'CY', Somaliland: 'SO' }; // no ISO code of their own: as what CloudFront names their visitors

const atlas = JSON.parse(readFileSync(new URL('node_modules/world-atlas/countries-110m.json', import.meta.url)));
const features = feature(atlas, atlas.objects.countries).features.filter(({ id }) => id !== '010'); // Antarctica: a tenth of the height
const world = { type: 'FeatureCollection', features };
const path = geoPath(geoEqualEarth().rotate([-11, 0]).fitWidth(WIDTH, world)).digits(0);

/** Intl knows that the region 276 is DE. */
const codeOf = ({ id, properties }) => (id ? new Intl.Locale(`und-${id}`).region : NAMELESS[properties.name]);

/** The same outline in steps from point to point, at half the size. */
function inSteps(outline) {
  return outline.replace(/M([^MZ]*)Z/g, (_, ring) => {
    const points = ring.split('L').map((point) => point.split(',').map(Number));
    const steps = points.slice(1).map(([x, y], i) => [x - points[i][0], y - points[i][1]]).filter(([x, y]) => x || y);
    return steps.length > 1 ? `M${points[0].join(' ')}l${steps.map((step) => step.join(' ')).join(' ')}z` : '';
  }).replaceAll(' -', '-');
}

const outlines = {};
for (const one of features) outlines[codeOf(one)] = (outlines[codeOf(one)] ?? '') + inSteps(path(one));
const shapes = Object.entries(outlines).filter(([, outline]) => outline).sort(([a], [b]) => (a < b ? -1 : 1));
const height = Math.ceil(path.bounds(world)[1][1]);
console.log(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}">
<!-- Made by clients/countries.mjs of Natural Earth's countries (public domain), as packed by world-atlas (ISC, Copyright 2013-2019 Michael Bostock). -->
${shapes.map(([code, outline]) => `<path id="${code}" d="${outline}"/>`).join('\n')}
</svg>`);

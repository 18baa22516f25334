// What cdk-preflight and the CDK's own engine find in templates: `node check.mjs folder`, with a
// template without parameters and conditions in each of its files. Prints
// {file: [[rule, resource, property, message], ...]}.
import { App, Stack } from 'aws-cdk-lib';
import { CfnInclude } from 'aws-cdk-lib/cloudformation-include';
import { Preflight } from 'cdk-preflight';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

const folder = process.argv[2];
const outdir = mkdtempSync(join(tmpdir(), 'headcount-preflight-'));
const app = new App({
  outdir,
  analyticsReporting: false,
  context: { '@aws-cdk/core:validationReportJson': true },
});
const found = {};
for (const file of readdirSync(folder).sort()) {
  const name = basename(file, '.json');
  found[name] = [];
  const stack = new Stack(app, name, { env: { account: '123456789012', region: 'us-east-1' } });
  new CfnInclude(stack, 'Template', { templateFile: join(folder, file) });
}
Preflight.apply(app, { strict: true });
try {
  app.synth();
} catch (error) {
  if (error.name !== 'ValidationFailed') throw error; // what failed is in the report
}
const { pluginReports } = JSON.parse(readFileSync(join(outdir, 'validation-report.json')));
if (!pluginReports.some((one) => one.pluginName === 'cdk-preflight')) {
  throw new Error('cdk-preflight did not run');
}
for (const { violations = [] } of pluginReports) {
  for (const { ruleName, description, violatingConstructs = [] } of violations) {
    for (const { cloudFormationResource: at, constructPath } of violatingConstructs) {
      found[constructPath.split('/')[0]].push([
        ruleName,
        at?.logicalId ?? constructPath,
        (at?.propertyPaths ?? []).join(' '),
        description,
      ]);
    }
  }
}
rmSync(outdir, { recursive: true });
process.stdout.write(JSON.stringify(found));

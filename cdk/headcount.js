"use strict";
const { readFileSync } = require("node:fs");
const path = require("node:path");
const { CfnElement, Token } = require("aws-cdk-lib");
const { Asset } = require("aws-cdk-lib/aws-s3-assets");
const { Construct } = require("constructs");

/**
 * A template as it is. CfnInclude can't be used: it knows no logical IDs that SAM makes, such as
 * HttpApi.Stage, and without parsing a resource it drops its conditions.
 */
class Verbatim extends CfnElement {
  _toCloudFormation() {
    return this.content;
  }
}

/** Headcount, of the release in whose folder this file is. Types and words: headcount.d.ts. */
class Headcount extends Construct {
  constructor(scope, id) {
    super(scope, id);
    const template = JSON.parse(readFileSync(path.join(__dirname, "template.json"), "utf8"));
    for (const [name, { Properties }] of Object.entries(template.Resources)) {
      for (const property of ["CodeUri", "ContentUri"]) {
        if (!Properties?.[property]) continue;
        const file = path.join(__dirname, "..", Properties[property]);
        const asset = new Asset(this, name, { path: file });
        Properties[property] = { Bucket: asset.s3BucketName, Key: asset.s3ObjectKey };
      }
    }
    this.outputs = template.Outputs;
    new Verbatim(this, "Template").content = template;
  }

  output(name) {
    if (!this.outputs[name]) throw new Error(`Headcount has no output ${name}`);
    return Token.asString(this.outputs[name].Value);
  }
}

module.exports = { Headcount };

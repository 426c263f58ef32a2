const debug = require('debug');
const { renderToString } = require('react-dom/server');
const react = require('react');
const semver = require('semver');
const number = require('number');
const ms = require('util-of-ours');
const text = renderToString(react.createElement('b', null, 'hi'));
require('http').createServer((request, answer) => {
  answer.end([text, semver.valid('1.2.3'), number(7), ms('1s'), typeof debug].join(' '));
}).listen(8080);

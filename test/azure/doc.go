// Package azure looks through deploy/azure. Without a tofu it sees to it that
// each assertion of its tests names the changes of the code that have to make it
// fail, and that these changes can be made; by tofu, under the tag proof, that the
// tests pass and that each change makes them fail by that assertion.
//
// Providers are mocked: nothing here says what Azure does with any of it.
package azure

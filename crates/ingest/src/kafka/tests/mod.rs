mod messages;
mod pin;

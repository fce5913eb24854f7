mod messages;
mod pin;
mod read;
